"""What the chats tell the screen."""

from __future__ import annotations

from contextlib import suppress

from textual.content import Content
from textual.css.query import NoMatches
from textual.widgets import Static

from stevemin_chat.chats import Chat
from stevemin_chat.tui.commanding import Commanding
from stevemin_chat.tui.widgets.queue_bar import QueueBar
from stevemin_chat.tui.widgets.session_list import SessionList

__all__ = ["Listening"]


class Listening(Commanding):
    """Mixed into the chat screen: a `ChatsListener`."""

    def chats_changed(self) -> None:
        with suppress(NoMatches):  # the screen is being taken down
            self._screen.query_one(SessionList).show(self._screen.chats.all, self._screen.chat)

    def chat_changed(self, chat: Chat) -> None:
        screen = self._screen
        with suppress(NoMatches):
            screen.query_one(SessionList).refresh_lines(chat)
            if chat is screen.chat:
                screen.query_one("#title", Static).update(_title(chat))
                screen.query_one(QueueBar).show(chat.queue, self._when(chat))

    def entries_changed(self, chat: Chat) -> None:
        if chat is self._screen.chat and self._screen.is_running:
            self._screen.sync()

    def text_returned(self, chat: Chat, text: str) -> None:
        if chat is self._screen.chat:
            self._screen.prompt.give_back(text)
        else:
            chat.draft = f"{text}\n{chat.draft}".strip()

    def draft_forgotten(self, chat: Chat) -> None:
        if chat is self._screen.chat:
            self._screen.prompt.put("")

    def chat_failed(self, chat: Chat, error: Exception) -> None:
        failed = chat.entries[-1].status == "failed" if chat.entries else False
        if chat is not self._screen.chat or not failed:  # else the transcript says it
            self._screen.tell(error)

    def failed(self, error: Exception) -> None:
        self._screen.tell(error)

    def _when(self, chat: Chat) -> str:
        if chat.on_hold:
            return "kept from last time; enter sends it"
        if not self._screen.chats.answers.ready:
            return "sent when the model is ready"
        return "sent next" if chat.busy else "enter sends it"


def _title(chat: Chat) -> Content:
    mark = " · off the record" if chat.off_record else ""
    return Content.assemble(chat.title or "New chat", (mark, "$accent"))
