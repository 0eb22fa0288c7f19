"""The transcript: follows the end only for someone who is at the end, and keeps few widgets mounted."""

from __future__ import annotations

import asyncio

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from stevemin_chat.chats import Chat, Entry
from stevemin_chat.tui.widgets.turns import EntryView, ReplyView, view_of

__all__ = ["Transcript"]

_PAGE = 24  # entries mounted at once, and loaded when someone scrolls to the top or to the bottom
_MOST = 72  # mounted entries above which the oldest go, when the person is at the end
_NEAR = 2  # rows from the top or the bottom at which more entries are loaded
_ABOVE = 4  # entries before one that someone goes to


class Transcript(VerticalScroll, can_focus=True):
    """The visible chat."""

    class Moved(Message):
        """The person came to the end, or left it."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._chat: Chat | None = None
        self._first = 0  # index of the oldest mounted entry
        self._last: int | None = None  # index behind the newest mounted one; None: there is none behind it
        self._paging = False
        self._changing = asyncio.Lock()  # two at once would mount an entry twice

    def compose(self) -> ComposeResult:
        # At least as high as the view: Textual scrolls an anchored view above its top otherwise.
        yield Vertical(id="turns")

    @property
    def at_end(self) -> bool:
        """Whether the newest text is on the screen and followed."""
        return self._last is None and self.scroll_offset.y >= self.max_scroll_y - 1

    async def show(self, chat: Chat, opening: Widget | None, message_id: str | None = None) -> bool:
        """Show a chat from its end, or at one of its messages.

        Args:
            opening: stands where there is nothing yet.

        Returns:
            False if the message is not in the chat's branch.
        """
        async with self._changing:
            self._chat = chat
            place = self._place_of(message_id)
            self._first, self._last = max(0, len(self._entries) - _PAGE), None
            if place is not None and place < self._first:
                self._first, self._last = max(0, place - _ABOVE), place + _PAGE
            views: list[Widget] = [view_of(entry) for entry in self._entries[self._first : self._last]]
            marked = views[place - self._first] if place is not None else None
            if opening is not None and not self._entries:
                views = [opening]
            await self._replace(views)
        if marked is None:
            self.anchor()
        else:
            self.anchor(False)
            marked.add_class("-marked")
            self.call_after_refresh(self._scroll_up_to, marked)  # when what was mounted has its height
        return message_id is None or place is not None

    async def sync(self) -> None:
        """Mount and remove what came and went in the visible chat."""
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
                    mounted[entry] = view_of(entry)
                    await self._turns.mount(mounted[entry], after=above)
                above = mounted[entry]
            self._mark_rest()

    def follow(self) -> None:
        """Go to the end and stay there."""
        if self._last is None:
            self.anchor()
        else:
            self._leave_middle()

    async def prune(self) -> None:
        """Take the oldest widgets away while someone follows a long chat."""
        async with self._changing:
            views = self._views()
            if len(views) > _MOST and self.at_end:
                extra = views[:-_PAGE]
                self._first += len(extra)
                await self._turns.remove_children(extra)
                self._mark_rest()

    def live_view(self) -> ReplyView | None:
        """The reply that is being written."""
        views = [view for view in self._views() if isinstance(view, ReplyView) and view.entry.live]
        return views[-1] if views else None

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._paging:
            if new_value < old_value and new_value <= _NEAR and self._first:
                self._load_older()
            elif new_value > old_value and new_value >= self.max_scroll_y - _NEAR:
                self._came_down()
        self.post_message(self.Moved())

    def _came_down(self) -> None:
        if self._last is not None:
            self._load_newer()
        elif not self.is_anchored:
            self.anchor()

    @work(exclusive=True, group="older")
    async def _load_older(self) -> None:
        """Mount the page above without moving what is being read."""
        async with self._changing:
            start = max(0, self._first - _PAGE)
            older: list[Entry] = self._entries[start : self._first]
            height = self.virtual_size.height
            self._paging = True
            try:
                with self.app.batch_update():
                    views = [view_of(entry) for entry in older]
                    await self._turns.mount_all(views, after=self.query_one("#older"))
                    self._first = start
                    self._mark_rest()
                self.call_after_refresh(self._keep_place, height)
            finally:
                self._paging = False

    @work(exclusive=True, group="newer")
    async def _load_newer(self) -> None:
        """Mount the page below."""
        async with self._changing:
            if self._last is None:
                return
            end = self._last + _PAGE
            views = [view_of(entry) for entry in self._entries[self._last : end]]
            await self._turns.mount_all(views, before=self.query_one("#newer"))
            self._last = end if end < len(self._entries) else None
            self._mark_rest()

    @work(exclusive=True, group="end")
    async def _leave_middle(self) -> None:
        if self._chat is not None:
            await self.show(self._chat, None)

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
        return [view for view in self._turns.children if isinstance(view, EntryView)]

    def _mark_rest(self) -> None:
        """Say how much is not mounted."""
        older, newer = self.query_one("#older", Static), self.query_one("#newer", Static)
        older.display = bool(self._first)
        older.update(f"{self._first:,} earlier messages · scroll up")
        later = len(self._entries) - self._last if self._last is not None else 0
        newer.display = later > 0
        newer.update(f"{later:,} later messages · scroll down, or ctrl+end")
