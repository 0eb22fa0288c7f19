"""One message of a transcript: what the person said, or a reply that may still be growing."""

from __future__ import annotations

import asyncio

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from stevemin_chat.chats.chat import Entry
from stevemin_chat.text.format import reply_note
from stevemin_chat.tui.widgets.reply_text import ReplyText

__all__ = ["EntryView", "ForgottenView", "ReplyView", "UserView", "view_of"]

_PAUSE = 0.1  # seconds between two looks at a growing reply; each costs about 10 ms of layout


class UserView(Static):
    """What the person said, word for word."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.text, markup=False, classes="user")
        self.entry = entry


class ReplyView(Vertical):
    """A reply as Markdown, with a quiet line below; follows its entry while that is being written."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(classes="reply")
        self.entry = entry
        self._text = ReplyText(classes="text")
        self._note = Static("", markup=False, classes="note")
        self._said = ""

    def compose(self) -> ComposeResult:
        yield self._text
        yield self._note

    async def on_mount(self) -> None:
        if self.entry.live:
            self.say("preparing the prompt …")
            self.run_worker(self._follow())
            return
        await self._text.write(self.entry.text)
        self._settle()

    def say(self, text: str) -> None:
        """Show why there is no text yet."""
        if text != self._said:
            self._said = text
            self._note.update(text)
            self._note.display = bool(text)

    async def _follow(self) -> None:
        entry, shown = self.entry, 0
        while True:
            entry.changed.clear()
            live, text = entry.live, entry.text
            if len(text) > shown:
                self.say("")
                await self._text.write(text[shown:])
                shown = len(text)
            if not live:
                break
            await entry.changed.wait()
            await asyncio.sleep(_PAUSE)
        self._settle()

    def _settle(self) -> None:
        self._text.finish()
        self.set_class(self.entry.status in ("failed", "interrupted"), "-trouble")
        self.say(reply_note(self.entry))


class ForgottenView(Static):
    """Where something was said."""

    def __init__(self, entry: Entry) -> None:
        super().__init__("(forgotten)", markup=False, classes="forgotten")
        self.entry = entry


EntryView = UserView | ReplyView | ForgottenView


def view_of(entry: Entry) -> EntryView:
    """The widget for an entry."""
    if entry.forgotten:
        return ForgottenView(entry)
    return UserView(entry) if entry.role == "user" else ReplyView(entry)
