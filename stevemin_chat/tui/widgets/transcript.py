"""The transcript of the visible chat: mounts a part of it, and follows the end while the person is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from stevemin_chat.text import count, one_line

if TYPE_CHECKING:
    from stevemin_chat.chats import Chat, Entry
    from stevemin_chat.tui.widgets.turns import EntryView, ReplyView

# `turns` loads the Markdown parser and the highlighter. The first frame has no entries and does without them,
# so the module is imported where an entry is shown.

__all__ = ["Greeting", "Hint", "Transcript"]

_PAGE = 24  # entries mounted when a chat is opened, and with each scroll to the top or the bottom
_MOST = 72  # mounted entries; above it the oldest are unmounted while the person is at the end
_NEAR = 2  # rows from the top or the bottom at which the next page is mounted
_ABOVE = 4  # entries shown before the one that the person goes to

_KEYS = (
    ("enter", "send", "ctrl+j", "new line"),
    ("esc", "stop an answer", "ctrl+n", "another chat"),
    ("alt+↑ alt+↓", "switch chats", "/", "commands"),
    ("ctrl+l", "list of chats", "ctrl+g", "stats"),
    ("ctrl+p", "command palette", "f1", "help"),
)


class Transcript(VerticalScroll, can_focus=True):
    """The visible chat."""

    class Moved(Message):
        """The person reached the end or left it."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._chat: Chat | None = None
        self._first = 0  # index of the oldest mounted entry
        self._last: int | None = None  # index after the newest mounted entry; None: it is the newest of all
        self._paging = False
        # Two changes at the same time would mount an entry twice. None is ever cancelled: that would cancel
        # the message loops of widgets being removed, and with them the application, which awaits them too.
        self._changing = asyncio.Lock()
        self._asked = 0  # calls of `show`

    def compose(self) -> ComposeResult:
        # At least as high as the view: otherwise Textual scrolls an anchored view above its top.
        yield Vertical(id="turns")

    @property
    def at_end(self) -> bool:
        """Whether the newest text is on the screen."""
        return self._last is None and self.scroll_offset.y >= self.max_scroll_y - 1

    async def show(self, chat: Chat, opening: Widget | None, message_id: str | None = None) -> bool:
        """Show the end of a chat, or one of its messages; nothing if another chat is asked for meanwhile.

        Args:
            opening: shown in a chat without messages.
            message_id: the message to show, highlighted.

        Returns:
            False if the message is not in the visible branch of the chat.
        """
        self._asked += 1
        asked = self._asked
        async with self._changing:
            if asked != self._asked:
                return True
            self._chat = chat
            place = self._place_of(message_id)
            self._first, self._last = max(0, len(self._entries) - _PAGE), None
            if place is not None and place < self._first:
                self._first, self._last = max(0, place - _ABOVE), place + _PAGE
            views: list[Widget] = [self._view_of(entry) for entry in self._entries[self._first : self._last]]
            marked = views[place - self._first] if place is not None else None
            if opening is not None and not self._entries:
                views = [opening]
            await self._replace(views)
        if marked is None:
            self.anchor()
        else:
            self.anchor(False)
            marked.add_class("-marked")
            self.call_after_refresh(self._scroll_up_to, marked)  # once the new entries have their heights
        return message_id is None or place is not None

    async def sync(self) -> None:
        """Mount the entries added to the visible chat, and unmount those removed from it."""
        async with self._changing:
            entries = self._entries[self._first : self._last]
            mounted = {view.entry: view for view in self._views()}
            gone = [view for entry, view in mounted.items() if entry not in entries]
            for view in gone:
                await view.remove()
            await self.query(".opening").remove()
            above: Widget = self.query_one("#older")
            for entry in entries:
                if entry not in mounted:
                    mounted[entry] = self._view_of(entry)
                    await self._turns.mount(mounted[entry], after=above)
                above = mounted[entry]
            self._mark_rest()

    def follow(self) -> None:
        """Scroll to the end and stay there."""
        if self._last is None:
            self.anchor()
        else:
            self._leave_middle()

    async def prune(self) -> None:
        """Unmount the oldest entries while the person follows a long chat."""
        async with self._changing:
            views = self._views()
            if len(views) > _MOST and self.at_end:
                extra = views[:-_PAGE]
                self._first += len(extra)
                await self._turns.remove_children(extra)
                self._mark_rest()

    def live_view(self) -> ReplyView | None:
        """The reply that is being written."""
        if self._chat is None:
            return None
        from stevemin_chat.tui.widgets.turns import ReplyView

        views = [view for view in self._views() if isinstance(view, ReplyView) and view.entry.live]
        return views[-1] if views else None

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._paging:
            if new_value < old_value and new_value <= _NEAR and self._first:
                self._load_older(self._first)
            elif new_value > old_value and new_value >= self.max_scroll_y - _NEAR:
                self._came_down()
        self.post_message(self.Moved())

    def _came_down(self) -> None:
        if self._last is not None:
            self._load_newer(self._last)
        elif not self.is_anchored:
            self.anchor()

    @work
    async def _load_older(self, first: int) -> None:
        """Mount the page above the first entry, once; the text being read does not move."""
        async with self._changing:
            if self._first != first:
                return
            start = max(0, self._first - _PAGE)
            older: list[Entry] = self._entries[start : self._first]
            height = self.virtual_size.height
            self._paging = True
            try:
                with self.app.batch_update():
                    views = [self._view_of(entry) for entry in older]
                    await self._turns.mount_all(views, after=self.query_one("#older"))
                    self._first = start
                    self._mark_rest()
                self.call_after_refresh(self._keep_place, height)
            finally:
                self._paging = False

    @work
    async def _load_newer(self, last: int) -> None:
        """Mount the page below the last entry, once."""
        async with self._changing:
            if self._last != last:
                return
            end = last + _PAGE
            views = [self._view_of(entry) for entry in self._entries[last:end]]
            await self._turns.mount_all(views, before=self.query_one("#newer"))
            self._last = end if end < len(self._entries) else None
            self._mark_rest()

    @work
    async def _leave_middle(self) -> None:
        async with self._changing:
            if self._last is None:  # another chat is shown by now
                return
            self._first, self._last = max(0, len(self._entries) - _PAGE), None
            await self._replace([self._view_of(entry) for entry in self._entries[self._first :]])
        self.anchor()

    async def _replace(self, views: list[Widget]) -> None:
        self._paging = True
        try:
            with self.app.batch_update():
                await self._turns.remove_children()
                await self._turns.mount_all([Static("", id="older"), *views, Static("", id="newer")])
                self._mark_rest()
        finally:
            self._paging = False

    def _keep_place(self, height: int) -> None:
        grown = self.virtual_size.height - height
        if grown > 0:
            self.scroll_to(y=self.scroll_y + grown, animate=False, immediate=True)

    def _scroll_up_to(self, view: Widget) -> None:
        if view.is_attached:
            self.scroll_to_widget(view, top=True, animate=False, immediate=True)

    @property
    def _turns(self) -> Vertical:
        return self.query_one("#turns", Vertical)

    @property
    def _entries(self) -> list[Entry]:
        return (self._chat.entries or []) if self._chat is not None else []

    def _place_of(self, message_id: str | None) -> int | None:
        places = (at for at, entry in enumerate(self._entries) if entry.message_id == message_id)
        return next(places, None) if message_id is not None else None

    def _views(self) -> list[EntryView]:
        from stevemin_chat.tui.widgets.turns import EntryView

        return [view for view in self._turns.children if isinstance(view, EntryView)]

    def _view_of(self, entry: Entry) -> EntryView:
        from stevemin_chat.tui.widgets.turns import view_of

        return view_of(entry)

    def _mark_rest(self) -> None:
        """Show how many entries are not mounted."""
        older, newer = self.query_one("#older", Static), self.query_one("#newer", Static)
        older.display = bool(self._first)
        older.update(f"{count(self._first, 'earlier message')} · scroll up")
        later = len(self._entries) - self._last if self._last is not None else 0
        newer.display = later > 0
        newer.update(f"{count(later, 'later message')} · scroll down, or ctrl+end")


class Greeting(Static):
    """Introduces stevemin to a new person; stays until the first message."""

    def __init__(self, model: str) -> None:
        super().__init__(_greeting(model), classes="opening greeting")


class Hint(Static):
    """One quiet line in a new chat."""

    def __init__(self) -> None:
        text = "New chat. Type below and press enter; / lists the commands."
        super().__init__(text, classes="opening hint", markup=False)


def _greeting(model: str) -> Content:
    def pair(key: str, what: str, key_width: int, width: int) -> Content:
        return Content.assemble((key.ljust(key_width), "$primary"), (what.ljust(width), "$foreground 75%"))

    lines = [
        Content.styled("stevemin", "bold $foreground"),
        Content.styled("Chat with a language model that runs on this machine.", "$foreground 75%"),
        Content(""),
        Content.assemble(("Model  ", "$foreground 50%"), one_line(model)),
        Content.styled(
            "Nothing leaves the machine. Chats are kept; several run in parallel.",
            "$foreground 75%",
        ),
        Content(""),
        Content("Type a message below and press enter to begin."),
        Content(""),
        *(Content.assemble(pair(a, b, 13, 19), pair(c, d, 8, 16)) for a, b, c, d in _KEYS),
    ]
    return Content("\n").join(lines)
