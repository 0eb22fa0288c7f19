"""Long-term memory in the running application: changing it, forgetting, and what it reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from memory import IndexState
from stevemin_chat.base import ChatAppError
from stevemin_chat.recall.words import index_hint
from stevemin_chat.text import one_line, sanitize

if TYPE_CHECKING:
    from memory import Forgotten, IndexStatus, Memory, Message, Scope
    from stevemin_chat.base import MemorySection
    from stevemin_chat.chats import Chat, Chats

__all__ = ["Remembering", "StillAnswering"]

_ERASE_WAIT_S = 1.0


class StillAnswering(ChatAppError):
    """Something is to be forgotten in a chat whose answer is being written."""

    def __init__(self, title: str) -> None:
        super().__init__(f"“{title}” is still answering. Stop it or wait, then forget.")


class Remembering:
    """Lives on the event loop; threads ask the memory.

    Args:
        drop_cache: drops the KV cache of a chat.
        on_forgotten: called after messages have been forgotten, with the summaries made from them.

    Attributes:
        memory: the store; its methods block.
        on: whether anything is remembered, as of the last `look`.
    """

    def __init__(
        self,
        memory: Memory,
        chats: Chats,
        *,
        settings: MemorySection,
        drop_cache: Callable[[str], None],
        on_forgotten: Callable[[], None],
    ) -> None:
        self.memory = memory
        self.on = True
        self._chats = chats
        self._settings = settings
        self._drop_cache = drop_cache
        self._on_forgotten = on_forgotten
        self._told = False

    @property
    def off_by_settings(self) -> bool:
        """Whether the settings file turns long-term memory off, whatever `switch` says."""
        return not self._settings.enabled

    @property
    def usual_scope(self) -> Scope:
        """The scope of new chats."""
        return self._settings.scope

    @property
    def index(self) -> IndexStatus:
        """Indexing progress."""
        return self.memory.index_status()

    async def look(self) -> bool:
        """Read from the store whether anything is remembered. Raises memory.StoreError."""
        long_term = self.memory.long_term
        self.on = await asyncio.to_thread(lambda: long_term.remembering)
        return self.on

    async def switch(self, on: bool) -> None:
        """Turn remembering on or off for all chats. Raises memory.StoreError."""
        await asyncio.to_thread(self.memory.long_term.switch, on)
        await self.look()

    async def set_off_record(self, chat: Chat, off: bool) -> None:
        """Delete a chat's memories and keep the chat out of long-term memory, or let it in again.

        Raises:
            memory.StoreError
        """
        await self._chats.configure(chat, off_record=off)

    async def set_scope(self, chat: Chat, scope: Scope) -> None:
        """Set which chats share memories with this one. Raises memory.StoreError."""
        await self._chats.configure(chat, scope=scope)

    async def erased(self) -> bool:
        """Whether what was forgotten is in no file any more; waits a second for that."""
        return await asyncio.to_thread(self.memory.long_term.erased, _ERASE_WAIT_S)

    async def forget(self, message_ids: Sequence[str]) -> Forgotten:
        """Forget messages and the replies to them, in the store and on the screen.

        Raises:
            StillAnswering: an answer is being written in one of their chats.
            memory.StoreError: nothing, or not everything, was forgotten.
        """
        named = await asyncio.to_thread(self._read, message_ids)
        sessions = {message.session_id for message in named}
        for chat in self._chats.busy:
            if chat.record is not None and chat.record.id in sessions:
                raise StillAnswering(chat.title)
        forgotten = await asyncio.to_thread(self.memory.long_term.forget, message_ids)
        gone = set(forgotten.messages)
        quoting = {chat.record.id for chat in self._chats.all if chat.record and chat.quotes(gone)}
        for session_id in quoting.union(forgotten.sessions):  # the KV cache holds the recalls, too
            self._drop_cache(session_id)
        self._on_forgotten()
        texts = {sanitize(message.content) for message in named}
        await self._chats.forget(gone, set(forgotten.sessions), texts)
        return forgotten

    def hint(self, *, summarising: bool, reading: bool = False) -> str:
        """What the memory is doing, in a few words; empty when it is idle.

        Args:
            summarising: a summary is being made.
            reading: the model is looking for facts.
        """
        if not self.on:
            return "not remembering"
        doing = "summarising" if summarising else "looking for facts" if reading else ""
        return index_hint(self.index) or doing

    def news(self) -> str | None:
        """Why search is by words only; told once, then None."""
        status = self.index
        if self._told or status.state is not IndexState.UNAVAILABLE or not status.reason:
            return None
        self._told = True
        return one_line(status.reason)

    def _read(self, message_ids: Sequence[str]) -> list[Message]:
        return [self.memory.message(message_id) for message_id in message_ids]
