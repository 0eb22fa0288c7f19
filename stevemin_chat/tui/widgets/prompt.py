"""The prompt: several lines, enter sends, paste keeps its lines."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from stevemin_chat.text import sanitize

__all__ = ["Prompt"]

_NEWLINE_KEYS = {"ctrl+j", "shift+enter", "alt+enter"}


class Prompt(TextArea):
    """Where a person types."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c,super+c", "copy_or_stop", "Copy", show=False),
        Binding("pageup", "scroll_chat(-1)", "Scroll up", show=False),
        Binding("pagedown", "scroll_chat(1)", "Scroll down", show=False),
    ]

    class Sent(Message):
        """Enter was pressed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Recall(Message):
        """Up in an empty prompt, or in a message that was recalled and not changed."""

    class Key(Message):
        """A key that belongs to the list of completions while that is open."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class Stop(Message):
        """Ctrl-C with nothing selected."""

    class Scroll(Message):
        """Scroll the chat by a page."""

        def __init__(self, direction: int) -> None:
            super().__init__()
            self.direction = direction

    def __init__(self, *, id: str) -> None:
        super().__init__(
            id=id, soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False, compact=True
        )
        self.completing = False  # whether the list of completions is open
        self._recalled: str | None = None

    def put(self, text: str, *, recalled: bool = False) -> None:
        """Replace the text and stand at its end."""
        self.load_text(text)
        self.move_cursor(self.document.end)
        self._recalled = text if recalled else None

    def give_back(self, text: str) -> None:
        """Put a text that could not be sent before what is there now."""
        self.put(f"{text}\n{self.text}" if self.text.strip() else text)

    async def _on_key(self, event: events.Key) -> None:
        taken = True
        if self.completing and event.key in ("up", "down", "tab", "enter", "escape"):
            self.post_message(self.Key(event.key))
        elif event.key == "enter":
            self.post_message(self.Sent(self.text))
        elif event.key in _NEWLINE_KEYS:
            self._replace_via_keyboard("\n", *self.selection)
        elif event.key == "up" and (not self.text or self.text == self._recalled):
            self.post_message(self.Recall())
        else:
            taken = False
        if taken:
            event.stop()
            event.prevent_default()

    async def _on_paste(self, event: events.Paste) -> None:
        # Terminals send pasted line ends as carriage returns.
        event.stop()
        event.prevent_default()
        text = sanitize(event.text.replace("\r\n", "\n").replace("\r", "\n"))
        if result := self._replace_via_keyboard(text, *self.selection):
            self.move_cursor(result.end_location)

    def action_copy_or_stop(self) -> None:
        """Copy what is selected, else stop the answer."""
        if self.selected_text:
            self.action_copy()
        else:
            self.post_message(self.Stop())

    def action_scroll_chat(self, direction: int) -> None:
        """The prompt is short: its paging keys belong to the chat."""
        self.post_message(self.Scroll(direction))
