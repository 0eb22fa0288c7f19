"""Long-term memory as the running application uses it: what changes it, and what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

from memory import IndexState
from stevemin_chat.base.errors import ChatAppError
from stevemin_chat.recall.words import index_hint
from stevemin_chat.text import sanitize

if TYPE_CHECKING:
    from memory import ContextReport, Forgotten, IndexStatus, Memory, Scope
    from stevemin_chat.chats.chat import Chat, ChatsListener
    from stevemin_chat.chats.chats import Chats
    from stevemin_chat.runtime import Runtime

__all__ = ["Remembering", "StillAnswering"]


class StillAnswering(ChatAppError):
    """An answer is being written in a chat that something is to be taken out of."""

    def __init__(self, title: str) -> None:
        super().__init__(f"An answer is being written in “{title}”. Stop it first, or wait for it.")


class Remembering:
    """Lives on the event loop; the memory itself is asked on threads.

    Attributes:
        on: whether anything is remembered, as it was read last.
    """

    def __init__(self, runtime: Runtime, chats: Chats, listener: ChatsListener) -> None:
        self.on = True
        self._runtime = runtime
        self._chats = chats
        self._listener = listener
        self._told = False

    @property
    def memory(self) -> Memory:
        """The store; its methods block."""
        return self._runtime.memory

    @property
    def off_by_settings(self) -> bool:
        """The settings file turns long-term memory off, whatever `switch` says."""
        return not self._runtime.config.memory.enabled

    @property
    def usual_scope(self) -> Scope:
        """How far the memory of new chats reaches."""
        return self._runtime.config.memory.scope

    @property
    def index(self) -> IndexStatus:
        """How far the search by meaning is."""
        return self.memory.index_status()

    async def look(self) -> bool:
        """Read whether anything is remembered. Raises memory.StoreError."""
        long_term = self.memory.long_term
        self.on = await asyncio.to_thread(lambda: long_term.remembering)
        return self.on

    async def switch(self, on: bool) -> None:
        """Remember from now on, or no longer, in every chat. Raises memory.StoreError."""
        await asyncio.to_thread(self.memory.long_term.switch, on)
        await self.look()

    async def set_off_record(self, chat: Chat, off: bool) -> None:
        """Take a chat out of long-term memory and let nothing more of it in; or let all of it in.

        Raises:
            memory.StoreError
        """
        await self._chats.configure(chat, off_record=off)

    async def set_scope(self, chat: Chat, scope: Scope) -> None:
        """How far a chat's memory reaches. Raises memory.StoreError."""
        await self._chats.configure(chat, scope=scope)

    async def forget(self, message_ids: Sequence[str]) -> Forgotten:
        """Forget messages with the replies to them, also on the screen.

        Raises:
            StillAnswering: in one of their chats.
            memory.StoreError: nothing, or not all, was forgotten.
        """
        sessions = await asyncio.to_thread(self._sessions_of, message_ids)
        for chat in self._chats.busy:
            if chat.record is not None and chat.record.id in sessions:
                raise StillAnswering(chat.title)
        forgotten = await self._runtime.forget_messages(message_ids)
        for chat in self._chats.all:
            self._empty(chat, set(forgotten.messages))
        await self._read_titles(set(forgotten.sessions))
        return forgotten

    def hint(self, *, summarising: bool) -> str:
        """What the memory is doing, in a few words; empty while there is nothing to say.

        Args:
            summarising: a summary is being made.
        """
        if not self.on:
            return "not remembering"
        return index_hint(self.index) or ("summarising" if summarising else "")

    def news(self) -> str | None:
        """Why the search goes by words only; said once."""
        status = self.index
        if self._told or status.state is not IndexState.UNAVAILABLE or not status.reason:
            return None
        self._told = True
        return sanitize(status.reason)

    def _sessions_of(self, message_ids: Sequence[str]) -> set[str]:
        return {self.memory.message(message_id).session_id for message_id in message_ids}

    def _empty(self, chat: Chat, gone: Set[str]) -> None:
        """Take forgotten messages out of what this run knows of a chat."""
        lost = [entry for entry in chat.entries or [] if entry.message_id in gone]
        if lost and chat.entries is not None:
            chat.entries = [entry.emptied() if entry in lost else entry for entry in chat.entries]
            self._listener.entries_changed(chat)
        if _quotes(chat.last_context, gone):
            chat.last_context = None
            self._drop_cache(chat)
        if chat.session is not None and _quotes(chat.session.last_context, gone):
            chat.session.last_context, chat.session.last_prompt = None, ()
            self._drop_cache(chat)
        self._drop_drafts({entry.text for entry in lost})

    def _drop_cache(self, chat: Chat) -> None:
        """The memories of the last prompt are in the session's KV cache."""
        if self._runtime.engine is not None and chat.record is not None:
            self._runtime.engine.forget(chat.record.id)

    def _drop_drafts(self, texts: Set[str]) -> None:
        """A message that was recalled into a prompt is not kept there."""
        for chat in self._chats.all:
            if chat.draft and chat.draft in texts:
                chat.draft = ""
                self._listener.draft_forgotten(chat)

    async def _read_titles(self, session_ids: Set[str]) -> None:
        """A chat that was named by a forgotten message has another name."""
        for chat in self._chats.all:
            if chat.record is not None and chat.record.id in session_ids:
                before = chat.record.title
                chat.record = await asyncio.to_thread(self.memory.session, chat.record.id)
                if chat.record.title != before:
                    chat.title = sanitize(chat.record.title)
                self._listener.chat_changed(chat)


def _quotes(report: ContextReport | None, gone: Set[str]) -> bool:
    return report is not None and any(recall.message_id in gone for recall in report.recalls)
