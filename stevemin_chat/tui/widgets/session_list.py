"""The list of chats, and what each is doing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from stevemin_chat.chats import Chat, ChatState
from stevemin_chat.text import age, one_line, set_cell_size, shortened

__all__ = ["SessionList"]

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TICK = 0.3  # seconds between frames; drawing takes processor time from the answers


class SessionList(Vertical):
    """One line for each chat: a mark, the title, and how long ago it was used."""

    class Chosen(Message):
        """The person chose a chat."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, id: str, now: Callable[[], datetime]) -> None:
        super().__init__(id=id)
        self._now = now
        self._chats: Sequence[Chat] = ()
        self._visible: Chat | None = None
        self._frame = 0
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static("Chats", classes="heading")
        yield OptionList(id="chats", compact=True)

    def on_mount(self) -> None:
        self._timer = self.set_interval(_TICK, self._turn, pause=True)

    def show(self, chats: Sequence[Chat], visible: Chat | None) -> None:
        """List these chats and highlight the visible one."""
        self._chats, self._visible = tuple(chats), visible
        options = self.query_one(OptionList)
        if [option.id for option in options.options] != [chat.key for chat in chats]:
            options.set_options([Option(self._line(chat), id=chat.key) for chat in chats])
        self.refresh_lines(*chats)
        if visible in chats:
            options.highlighted = self._chats.index(visible)

    def refresh_lines(self, *chats: Chat) -> None:
        """Redraw these chats."""
        options = self.query_one(OptionList)
        known = {option.id for option in options.options}
        for chat in chats:
            if chat.key in known:
                options.replace_option_prompt(chat.key, self._line(chat))
        if self._timer is not None:
            if any(chat.busy for chat in self._chats):
                self._timer.resume()
            else:
                self._timer.pause()

    def freeze(self) -> None:
        """Stop the animation, for screenshots."""
        if self._timer is not None:
            self._timer.stop()
        self._frame = 0
        self.refresh_lines(*self._chats)

    def on_resize(self) -> None:
        self.refresh_lines(*self._chats)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id is not None:
            self.post_message(self.Chosen(event.option_id))

    def _turn(self) -> None:
        if self.display:
            self._frame += 1
            self.refresh_lines(*(chat for chat in self._chats if chat.busy))

    def _line(self, chat: Chat) -> Content:
        width = max(8, self.query_one(OptionList).scrollable_content_region.width - 2)
        mark, style = self._mark(chat)
        when = age(chat.record.updated_at, self._now()) if chat.record and not chat.busy else ""
        room = width - 2 - (len(when) + 1 if when else 0)
        title = shortened(one_line(chat.title) or "New chat", room)
        emphasis = "bold" if chat.unread else ("" if chat is self._visible else "$foreground 80%")
        return Content.assemble(
            (mark + " ", style),
            (set_cell_size(title, room), emphasis),
            (f" {when}" if when else "", "$foreground 40%"),
        )

    def _mark(self, chat: Chat) -> tuple[str, str]:
        if chat.state is ChatState.GENERATING:
            return _SPINNER[self._frame % len(_SPINNER)], "$primary"
        if chat.state in (ChatState.WAITING, ChatState.HELD):
            return "○", "$foreground 60%"
        if chat.failed:
            return "!", "$error"
        if chat.unread:
            return "●", "$accent"
        if chat.off_record:
            return "⊘", "$foreground 60%"
        return (" ", "") if chat.record else ("+", "$foreground 40%")
