"""Why something is remembered: the message it comes from, its neighbours, and what was derived from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from memory import Fact
from stevemin_chat.recall import Place, added_words, derived_lines, fact_marks, foreign_words, source_lines
from stevemin_chat.text import clip, minute, one_line, sanitize, speaker

if TYPE_CHECKING:
    from memory import Message, Origin
    from stevemin_chat.recall import Explanation

__all__ = ["OriginScreen"]

_AROUND_CELLS = 400  # of a message before or after the source


class OriginScreen(ModalScreen[Place | Literal["forget"] | None]):
    """Shows a source; the result is what to do with it, None for nothing."""

    CSS_PATH = "origin.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", show=False),
        Binding("enter", "go", "Open the chat", show=False),
        Binding("f,delete", "forget", "Forget the message", show=False),
    ]

    def __init__(self, explanation: Explanation) -> None:
        super().__init__()
        self._explanation = explanation

    def compose(self) -> ComposeResult:
        origin = self._explanation.origin
        with Vertical(classes="origin"):
            yield Static(_title(origin), classes="title", markup=False)
            with VerticalScroll():
                yield from _parts(self._explanation)
            keys = "enter opens the chat · f forgets the message · " if origin.message is not None else ""
            yield Static(f"{keys}esc closes · ↑ ↓ scroll", classes="keys", markup=False)

    def on_mount(self) -> None:
        view = self.query_one(VerticalScroll)
        view.focus()
        if source := next(iter(self.query(".source")), None):
            view.scroll_to_widget(source, animate=False, center=True)

    def action_go(self) -> None:
        """Open the chat at the message."""
        message = self._explanation.origin.message
        if message is not None:
            self.dismiss(Place(message.session_id, message.id))

    def action_forget(self) -> None:
        """Forget the message, not only the fact derived from it."""
        if self._explanation.origin.message is not None:
            self.dismiss("forget")


def _title(origin: Origin) -> str:
    if not isinstance(origin.item, Fact):
        return f"Said in “{one_line(origin.session.title)}”" if origin.session is not None else "Said"
    marks = [origin.item.kind, *fact_marks(origin.item)]
    return f"{clip(origin.item.dated_text, 200)} ({', '.join(marks)})"


def _parts(explanation: Explanation) -> Iterator[Widget]:
    origin = explanation.origin
    if origin.message is None:
        assert isinstance(origin.item, Fact)
        yield Static(added_words(origin.item), markup=False)
        return
    for message in explanation.around:
        source = message.id == origin.message.id
        when = f"{minute(message.created_at)} UTC"
        classes = "said -source source" if source else "said"
        yield Static(f"{speaker(message.role)} · {when}", classes=f"when {classes}", markup=False)
        yield Static(_text(message, whole=source), classes=f"text {classes}", markup=False)
    if foreign := foreign_words(origin):
        yield Static(foreign, classes="item", markup=False)
    yield Static("Derived from this", classes="heading", markup=False)
    for line in derived_lines(origin):
        yield Static(line, classes="item", markup=False)
    if origin.message.sources is not None:
        yield Static("Its prompt drew on", classes="heading", markup=False)
        for line in source_lines(origin.message):
            yield Static(line, classes="item", markup=False)


def _text(message: Message, *, whole: bool) -> str:
    if message.forgotten:
        return "(forgotten)"
    return sanitize(message.content.strip()) if whole else clip(message.content, _AROUND_CELLS)
