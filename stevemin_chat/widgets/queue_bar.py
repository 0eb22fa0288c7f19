"""Messages that are sent when the answer before them is done."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

__all__ = ["QueueBar"]

_SHOWN = 3


class QueueBar(Static):
    """One dim line for each queued message; a click takes the last one back."""

    class TakeBack(Message):
        """The last queued message is wanted back in the prompt."""

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id, markup=False)
        self.display = False

    def show(self, queue: Sequence[str], *, held: bool) -> None:
        """Show the queue; `held`: it waits for a model, not for an answer."""
        self.display = bool(queue)
        if not queue:
            return
        when = "when the model is ready" if held else "next"
        lines = [
            Content.assemble(
                (f"queued, sent {when}", "$foreground 60%"), ("   ↑ takes it back", "$foreground 40%")
            )
        ]
        lines += [
            Content.assemble(("│ ", "$accent"), " ".join(text.split())[:300]) for text in queue[:_SHOWN]
        ]
        if len(queue) > _SHOWN:
            lines.append(Content.styled(f"│ and {len(queue) - _SHOWN} more", "$foreground 40%"))
        self.update(Content("\n").join(lines))

    def on_click(self) -> None:
        self.post_message(self.TakeBack())
