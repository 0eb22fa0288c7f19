"""Messages that are sent when the answer before them is done."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from stevemin_chat.text import clip

__all__ = ["QueueBar"]

_SHOWN = 3  # messages
_LONGEST = 300  # cells of each


class QueueBar(Static):
    """One dim line for each queued message; a click takes the last one back."""

    class TakeBack(Message):
        """The last queued message is wanted back in the prompt."""

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id, markup=False)
        self.display = False

    def show(self, queue: Sequence[str], when: str) -> None:
        """Show the queue; `when` it goes out, in words."""
        self.display = bool(queue)
        if not queue:
            return
        hints = (f"queued, {when}", "$foreground 60%"), ("   ↑ takes it back", "$foreground 40%")
        lines = [Content.assemble(*hints)]
        for text in queue[:_SHOWN]:
            lines.append(Content.assemble(("│ ", "$accent"), clip(text, _LONGEST)))
        if len(queue) > _SHOWN:
            lines.append(Content.styled(f"│ and {len(queue) - _SHOWN} more", "$foreground 40%"))
        self.update(Content("\n").join(lines))

    def on_click(self) -> None:
        self.post_message(self.TakeBack())
