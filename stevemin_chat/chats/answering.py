"""The answers being written: one task for each chat, which works through the chat's queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from engine.errors import EngineClosed
from memory import STRATEGIES, StoreError, UnknownStrategy
from stevemin_chat.chats.chat import Chat, ChatsListener, ChatState, Entry
from stevemin_chat.text import sanitize

if TYPE_CHECKING:
    from memory import SessionRecord
    from stevemin_chat.chats.session import ChatSession
    from stevemin_chat.runtime import Runtime

__all__ = ["Answering"]

_PATIENCE = 3.0  # seconds that a stopped answer gets to be stored
_ORDER = list(ChatState)
_NO_TITLE = "New chat"  # nothing in the first message can be seen


class Answering:
    """Lives on the event loop; what blocks runs in a thread.

    Attributes:
        visible: the chat on the screen (see `look_at`); what comes in another one is unread.
        held: no new answers, because the model is being changed.
        engine_down: the engine stopped by itself; it has to be loaded again.
    """

    def __init__(
        self, runtime: Runtime, listener: ChatsListener, *, explain: Callable[[Exception], str]
    ) -> None:
        self.runtime = runtime
        self.visible: Chat | None = None
        self.held = False
        self.engine_down = False
        self._listener = listener
        self._explain = explain
        self._closing = False

    @property
    def ready(self) -> bool:
        """Whether there is a model to answer."""
        return self.runtime.engine is not None and not self.held and not self._closing

    def look_at(self, chat: Chat | None) -> None:
        """Make a chat the visible one; the engine serves it before those in the background."""
        self.visible = chat
        self.runtime.focus(chat.record.id if chat is not None and chat.record is not None else None)

    def start(self, chat: Chat) -> None:
        """Send what is queued, if the chat and the model are free."""
        if chat.queue and not chat.busy and self.ready:
            chat.task = asyncio.create_task(self._work(chat))
        self._settle(chat)

    def regenerate(self, chat: Chat) -> bool:
        """Ask for another answer to the last message; False when there is none, or no one to answer."""
        asked = [entry for entry in chat.entries or [] if entry.role == "user"]
        if chat.busy or not self.ready or not asked or asked[-1].forgotten:
            return False
        chat.task = asyncio.create_task(self._work(chat, again=True))
        return True

    def stop(self, chat: Chat) -> bool:
        """Stop the answer; its text stays. False when there is none."""
        if not chat.busy:
            return False
        chat.stopping = True
        if chat.session is not None:
            chat.session.cancel()
        return True

    def take_back(self, chat: Chat) -> str | None:
        """The message that was queued last, no longer queued."""
        if not chat.queue:
            return None
        text = chat.queue.pop()
        self._settle(chat)
        return text

    async def configure(self, chat: Chat, **settings: Any) -> None:
        """Store a chat's strategy, system prompt, or what becomes of its memory; counts from its next answer.

        Args:
            settings: as `Memory.set_session` takes them.

        Raises:
            memory.UnknownStrategy, memory.StoreError
        """
        if chat.record is None:
            strategy = settings.get("strategy")
            if strategy is not None and strategy not in STRATEGIES:
                raise UnknownStrategy(strategy, tuple(STRATEGIES))
            chat.settings |= settings
            self._listener.chat_changed(chat)
            return
        memory, session_id = self.runtime.memory, chat.record.id
        chat.record = await asyncio.to_thread(lambda: memory.set_session(session_id, **settings))
        self._listener.chat_changed(chat)

    async def read(self, chat: Chat) -> None:
        """Make sure that the entries are there. Raises memory.StoreError."""
        if chat.entries is None and chat.record is not None:
            messages = await asyncio.to_thread(self.runtime.memory.messages, chat.record.id)
            if chat.entries is None:  # another task may have read it meanwhile
                chat.entries = [Entry.stored(message) for message in messages if message.role != "system"]

    async def finish(self, chats: list[Chat]) -> None:
        """Stop these answers; returns when their text is stored, or after some seconds."""
        tasks = [chat.task for chat in chats if chat.task is not None]
        for chat in chats:
            self.stop(chat)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_PATIENCE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _work(self, chat: Chat, *, again: bool = False) -> None:
        try:
            going = not again or await self._turn(chat, None)
            while going and chat.queue and self.ready:
                going = await self._turn(chat, chat.queue.pop(0))
        finally:
            chat.task = chat.session = None
            self._settle(chat)

    async def _turn(self, chat: Chat, text: str | None) -> bool:
        """One message and its answer; `None` answers the last message again. False when it failed."""
        chat.stopping, chat.session = False, None
        self._settle(chat, ChatState.WAITING)
        added: list[Entry] = []
        try:
            await self.read(chat)
            added = self._show(chat, text)
            await self._answer(chat, text, added[-1])
        except asyncio.CancelledError:
            if added:
                added[-1].settle("cancelled", chat.session)
            raise
        except Exception as error:
            self._failed(chat, text, added, error)
            return False
        finally:
            _name(added, chat.session)
        return True

    def _show(self, chat: Chat, text: str | None) -> list[Entry]:
        entries = chat.entries = chat.entries if chat.entries is not None else []
        if text is None and entries and entries[-1].role == "assistant":
            entries.pop()
        added = [] if text is None else [Entry("user", sanitize(text))]
        added.append(Entry("assistant", status="streaming"))
        entries.extend(added)
        self._listener.entries_changed(chat)
        return added

    async def _answer(self, chat: Chat, text: str | None, reply: Entry) -> None:
        record = await self._stored(chat, text or "")
        session = chat.session = self.runtime.chat_session(record)
        stream = session.regenerate() if text is None else session.send(text)
        async with aclosing(stream):
            async for chunk in stream:
                if chat.stopping:  # asked for before there was anything to cancel
                    session.cancel()
                reply.grow(chunk.text)
                if chat.state is not ChatState.GENERATING:
                    self._settle(chat, ChatState.GENERATING)
        chat.last_context = session.last_context
        reply.settle("cancelled" if session.finish_reason == "cancelled" else "complete", session)
        self._mark(chat, failed=False)
        with suppress(StoreError):  # only the time of the last activity is at stake
            chat.record = await asyncio.to_thread(self.runtime.memory.session, record.id)

    async def _stored(self, chat: Chat, text: str) -> SessionRecord:
        if chat.record is None:
            memory = self.runtime.memory
            chat.title = chat.title or memory.title_from(sanitize(text)) or _NO_TITLE
            chat.record = await self.runtime.create_session(chat.title)
            if chat is self.visible:
                self.look_at(chat)  # only now is there a session to favour
            self._listener.chat_changed(chat)
        if chat.settings:  # those of an attempt that failed, too: a chat that is off the record stays so
            await self.configure(chat, **chat.settings)
            chat.settings.clear()
        return chat.record

    def _failed(self, chat: Chat, text: str | None, added: list[Entry], error: Exception) -> None:
        session = chat.session
        kept = text is None or (session is not None and session.user_message_id is not None)
        if kept and added:
            added[-1].settle("failed", session, sanitize(self._explain(error)))
        elif chat.entries is not None:
            chat.entries = [entry for entry in chat.entries if entry not in added]
            self._listener.entries_changed(chat)
        self.engine_down |= isinstance(error, EngineClosed) and not self.held
        self._mark(chat, failed=True)
        self._listener.chat_failed(chat, error)
        if not kept and text is not None:
            self._listener.text_returned(chat, text)

    def _settle(self, chat: Chat, state: ChatState | None = None) -> None:
        if state is not None:
            chat.state = state
        elif not chat.busy:
            chat.state = ChatState.HELD if chat.queue else ChatState.IDLE
        else:
            chat.state = max(chat.state, ChatState.WAITING, key=_ORDER.index)
        self._listener.chat_changed(chat)

    def _mark(self, chat: Chat, *, failed: bool) -> None:
        if chat is not self.visible:
            chat.unread, chat.failed = True, failed


def _name(added: list[Entry], session: ChatSession | None) -> None:
    """Note under which ids the entries of an exchange are stored."""
    if session is not None:
        for entry in added:
            entry.message_id = session.user_message_id if entry.role == "user" else session.reply_id
