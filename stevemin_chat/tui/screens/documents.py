"""The screen of documents: what was added, its state, and the reading under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from stevemin_chat.recall import state_words
from stevemin_chat.text import count, one_line

if TYPE_CHECKING:
    from memory import Document
    from stevemin_chat.tui.document_actions import DocumentActions

__all__ = ["DocumentsScreen"]

_POLL = 0.5  # seconds
_NONE = "No documents yet. Answers can quote the files that you add, with file and line."
_KEYS = "a add · d remove · s sync · x stop · esc closes"


class DocumentsScreen(ModalScreen[None]):
    """Lists the documents, two lines each."""

    CSS_PATH = "documents.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", show=False),
        Binding("a", "add", "Add", show=False),
        Binding("d,delete", "remove", "Remove", show=False),
        Binding("s", "sync", "Sync", show=False),
        Binding("x", "stop", "Stop", show=False),
    ]

    def __init__(self, actions: DocumentActions) -> None:
        super().__init__()
        self._actions = actions
        self._documents: tuple[Document, ...] = ()
        self._was_running = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="documents"):
            yield Static("Documents", classes="title", markup=False)
            yield Static("", id="state", markup=False)
            yield OptionList(id="items", compact=True, markup=False)
            yield Static(_KEYS, classes="keys", markup=False)

    def on_mount(self) -> None:
        self.set_interval(_POLL, self._poll)
        self._begin()

    @work
    async def _begin(self) -> None:
        await self.look()

    def _poll(self) -> None:
        """Show the progress, and the list again once it is over."""
        running = self._actions.work.running
        self._show_state()
        if self._was_running and not running:
            self._begin()
        self._was_running = running

    async def look(self) -> None:
        """List again; the highlight keeps its row."""
        self._documents = await self._actions.documents()
        items = self.query_one(OptionList)
        place = items.highlighted or 0
        items.set_options(Option(_row(document)) for document in self._documents)
        items.highlighted = min(place, len(self._documents) - 1) if self._documents else None
        self._show_state()

    def _show_state(self) -> None:
        passages = sum(document.passages for document in self._documents)
        held = f"{count(len(self._documents), 'file')}, {count(passages, 'passage')}"
        reading = self._actions.work.words or ("reading …" if self._actions.work.running else "")
        parts = [held if self._documents else _NONE, reading]
        self.query_one("#state", Static).update(" · ".join(part for part in parts if part))

    @work
    async def action_add(self) -> None:
        """Ask for a path and read it in the background."""
        await self._actions.add("")
        self._was_running = True  # look again, even if it is over before the next poll

    @work
    async def action_remove(self) -> None:
        """Remove the highlighted document, after asking."""
        place = self.query_one(OptionList).highlighted
        if place is not None and place < len(self._documents):
            await self._actions.remove(self._documents[place].path)
            await self.look()

    def action_sync(self) -> None:
        """Read what has changed."""
        self._actions.sync()
        self._was_running = True

    def action_stop(self) -> None:
        """Stop reading."""
        self._actions.stop()


def _row(document: Document) -> Content:
    scope = f" · {one_line(document.project)}" if document.project else ""
    state = f"{state_words(document)}{scope}"
    shade = "$warning 80%" if document.note else "$foreground 50%"
    return Content.assemble(one_line(document.name), "\n  ", (one_line(state), shade))
