"""A document at the lines that were quoted, to read."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea
from textual.widgets.text_area import Selection

from stevemin_chat.text import one_line, sanitize

if TYPE_CHECKING:
    from memory import Recall

__all__ = ["FileScreen"]

_MOST_BYTES = 4 << 20
_ABOVE = 2  # rows that stay in view above the quoted lines
_BREAKS = dict.fromkeys(map(ord, "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), " ")  # they end no line of a file


class FileScreen(ModalScreen[None]):
    """Shows the file with the quoted lines selected; what was quoted, where the file cannot be shown."""

    CSS_PATH = "file.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", show=False, priority=True),
    ]

    def __init__(self, recall: Recall) -> None:
        super().__init__()
        self._recall = recall

    def compose(self) -> ComposeResult:
        with Vertical(classes="file"):
            yield Static(one_line(self._recall.place), classes="title", markup=False)
            yield TextArea("", read_only=True, show_line_numbers=True, soft_wrap=True)
            yield Static("esc closes", classes="keys", markup=False)

    def on_mount(self) -> None:
        self._show()

    @work
    async def _show(self) -> None:
        recall, area = self._recall, self.query_one(TextArea)
        text = await asyncio.to_thread(_text_of, recall.file or "")
        first, last = recall.first_line or 1, recall.last_line or 1
        if text is None or last > text.count("\n") + 1:
            is_page = recall.place.rpartition(":")[2].startswith("p")
            why = "A page of a PDF" if is_page else "The file has changed"
            self.query_one(".keys", Static).update(f"{why}: this is what was quoted. esc closes")
            area.show_line_numbers = False
            area.load_text(sanitize(recall.text))
            return
        area.load_text(text)
        # From the end to the start: the cursor, which scrolls into view, is on the first quoted line.
        area.selection = Selection((last - 1, len(text.split("\n")[last - 1])), (first - 1, 0))
        row = area.wrapped_document.location_to_offset((first - 1, 0)).y
        area.scroll_to(y=max(0, row - _ABOVE), animate=False)


def _text_of(path: str) -> str | None:
    """The text of a file, safe to show; None if it is gone or no text."""
    try:
        # A pipe would wait for its writer, and a device never ends.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            data = file.read(_MOST_BYTES + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b"\0"
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    if "\0" in text or len(data) > _MOST_BYTES:
        return None
    return sanitize(text.replace("\r\n", "\n").replace("\r", "\n").translate(_BREAKS))
