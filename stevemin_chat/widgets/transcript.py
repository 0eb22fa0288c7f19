"""The transcript: follows the end only for someone who is at the end, and keeps few widgets mounted."""

from __future__ import annotations

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from stevemin_chat.chat import Chat
from stevemin_chat.entries import Entry
from stevemin_chat.widgets.turns import EntryView, ReplyView, view_of

__all__ = ["Transcript"]

_PAGE = 24  # entries mounted at once, and loaded when someone scrolls to the top
_MOST = 72  # mounted entries above which the oldest go, when the person is at the end
_NEAR = 2  # rows from the top at which older entries are loaded


class Transcript(VerticalScroll, can_focus=True):
    """The visible chat."""

    class Moved(Message):
        """The person came to the end, or left it."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._chat: Chat | None = None
        self._first = 0  # index of the oldest mounted entry
        self._paging = False
        self._revealing = False

    def compose(self) -> ComposeResult:
        # At least as high as the view: Textual scrolls an anchored view above its top otherwise.
        yield Vertical(id="turns")

    @property
    def _turns(self) -> Vertical:
        return self.query_one("#turns", Vertical)

    @property
    def at_end(self) -> bool:
        """Whether the newest text is on the screen and followed."""
        return self.scroll_offset.y >= self.max_scroll_y - 1

    async def show(self, chat: Chat, opening: Widget | None) -> None:
        """Show a chat from its end; `opening` stands where there is nothing yet."""
        entries = chat.entries or []
        self._chat, self._first = chat, max(0, len(entries) - _PAGE)
        views: list[Widget] = [view_of(entry) for entry in entries[self._first :]]
        if opening is not None and not entries:
            views = [opening]
        with self.app.batch_update():
            await self._turns.remove_children()
            await self._turns.mount_all([Static("", id="older"), *views])
            self._mark_older()
        self.anchor()

    async def sync(self) -> None:
        """Mount and remove what came and went at the end of the visible chat."""
        entries = (self._chat.entries or [])[self._first :] if self._chat else []
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

    async def reveal(self, message_id: str) -> bool:
        """Scroll to a message, however old, and mark it; False when it is not in this chat's branch."""
        entries = (self._chat.entries or []) if self._chat else []
        place = next((at for at, entry in enumerate(entries) if entry.message_id == message_id), None)
        if place is None:
            return False
        self._revealing = True
        while place < self._first:
            await self._mount_older()
        view = next(view for view in self._views() if view.entry is entries[place])
        view.add_class("-revealed")
        self.release_anchor()
        self.call_after_refresh(self._scroll_to_message, view)  # when what was mounted has its height
        return True

    def _scroll_to_message(self, view: Widget) -> None:
        self.scroll_to_widget(view, top=True, animate=False, immediate=True)
        self._revealing = False

    def follow(self) -> None:
        """Go to the end and stay there."""
        self.anchor()

    async def prune(self) -> None:
        """Take the oldest widgets away while someone follows a long chat."""
        views = self._views()
        if len(views) > _MOST and self.at_end and not self._revealing:
            extra = views[:-_PAGE]
            self._first += len(extra)
            await self._turns.remove_children(extra)
            self._mark_older()

    def live_view(self) -> ReplyView | None:
        """The reply that is being written."""
        views = [view for view in self._views() if isinstance(view, ReplyView) and view.entry.live]
        return views[-1] if views else None

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and new_value <= _NEAR and self._first and not self._paging:
            self._load_older()
        self.post_message(self.Moved())

    @work(exclusive=True, group="older")
    async def _load_older(self) -> None:
        """Mount the page above without moving what is being read."""
        if self._chat is None or not self._chat.entries:
            return
        height = self.virtual_size.height
        await self._mount_older()
        self.call_after_refresh(self._keep_place, height)

    async def _mount_older(self) -> None:
        """Mount the page above."""
        entries = (self._chat.entries or []) if self._chat else []
        self._paging = True
        try:
            start = max(0, self._first - _PAGE)
            older: list[Entry] = entries[start : self._first]
            with self.app.batch_update():
                await self._turns.mount_all(
                    [view_of(entry) for entry in older], after=self.query_one("#older")
                )
                self._first = start
                self._mark_older()
        finally:
            self._paging = False

    def _keep_place(self, height: int) -> None:
        grown = self.virtual_size.height - height
        if grown > 0:
            self.scroll_to(y=self.scroll_y + grown, animate=False, immediate=True)

    def _views(self) -> list[EntryView]:
        return [view for view in self._turns.children if isinstance(view, EntryView)]

    def _mark_older(self) -> None:
        older = self.query_one("#older", Static)
        older.display = bool(self._first)
        older.update(f"{self._first:,} earlier messages · scroll up")
