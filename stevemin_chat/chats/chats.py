"""All chats of one running application; knows no screen.

An answer goes on whether or not anyone looks at its chat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from stevemin_chat.chats.answering import Answering
from stevemin_chat.chats.chat import Chat, ChatsListener
from stevemin_chat.text import sanitize

if TYPE_CHECKING:
    from stevemin_chat.runtime import Runtime

__all__ = ["Chats"]


class Chats(Answering):
    """The chats, the latest used first."""

    def __init__(
        self, runtime: Runtime, listener: ChatsListener, *, explain: Callable[[Exception], str]
    ) -> None:
        super().__init__(runtime, listener, explain=explain)
        self.all: list[Chat] = []
        self._made = 0

    @property
    def busy(self) -> list[Chat]:
        """Chats with an answer on its way."""
        return [chat for chat in self.all if chat.busy]

    async def load(self) -> None:
        """Read the stored chats.

        Raises:
            memory.StoreError: the store cannot be read.
        """
        records = await asyncio.to_thread(self.runtime.memory.sessions)
        self.all = [Chat(record.id, sanitize(record.title), record) for record in records]
        self._listener.chats_changed()

    def new(self, title: str = "") -> Chat:
        """A chat that is stored with its first message; a blank one without a draft is used again."""
        for chat in self.all:
            if chat.blank and not chat.draft and not title:
                return chat
        self._made += 1
        chat = Chat(f"new-{self._made}", sanitize(title), entries=[])
        self.all.insert(0, chat)
        self._listener.chats_changed()
        return chat

    async def of_session(self, session_id: str) -> Chat:
        """The chat of a stored session, also of one that was made elsewhere. Raises memory.StoreError."""
        for chat in self.all:
            if chat.record is not None and chat.record.id == session_id:
                return chat
        record = await asyncio.to_thread(self.runtime.memory.session, session_id)
        chat = Chat(record.id, sanitize(record.title), record)
        self.all.append(chat)
        self._listener.chats_changed()
        return chat

    async def open(self, chat: Chat) -> None:
        """Make sure that the entries are there; nothing in the chat is unread any more.

        Raises:
            memory.StoreError: the store cannot be read.
        """
        await self.read(chat)
        chat.unread = chat.failed = False
        self._listener.chat_changed(chat)

    async def rename(self, chat: Chat, title: str) -> None:
        """Raises memory.StoreError."""
        title = sanitize(title).strip()
        if chat.record is not None:
            chat.record = await asyncio.to_thread(self.runtime.memory.rename_session, chat.record.id, title)
            title = sanitize(chat.record.title)
        chat.title = title
        self._listener.chat_changed(chat)

    async def delete(self, chat: Chat) -> None:
        """Stop and remove a chat. Raises memory.StoreError."""
        chat.queue.clear()
        await self.finish([chat])
        if chat.record is not None:
            await self.runtime.delete_session(chat.record.id)
        self.all.remove(chat)
        if self.visible is chat:
            self.look_at(None)
        self._listener.chats_changed()

    def send(self, chat: Chat, text: str) -> None:
        """Queue a message; it goes out as soon as the chat and the model are free."""
        chat.queue.append(text)
        self.all.remove(chat)
        self.all.insert(0, chat)
        self._listener.chats_changed()
        self.start(chat)

    async def pause(self) -> None:
        """Stop all answers and start no new ones until `resume`."""
        self.held = True
        await self.finish(self.busy)

    def resume(self) -> None:
        """Answer again, first what waited."""
        self.held = False
        for chat in list(self.all):
            self.start(chat)

    async def close(self) -> None:
        """Stop all answers; returns when their text is stored, or after some seconds."""
        self._closing = True
        await self.finish(self.busy)
