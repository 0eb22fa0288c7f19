"""Sends messages and writes the answers: one task for each chat, which works through the chat's queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Protocol

from engine.errors import EngineClosed
from memory import StoreError
from stevemin_chat.chats.chat import Chat, ChatsListener, ChatState
from stevemin_chat.chats.entry import Entry
from stevemin_chat.chats.session import ChatSession
from stevemin_chat.text import mapped, sanitize

if TYPE_CHECKING:
    from memory import SessionRecord
    from stevemin_chat.chats.ports import ChatBackend

__all__ = ["Answers", "Owner"]

_STOP_S = 3.0  # seconds for a stopped answer to be stored
_CANCEL_S = 3.0  # and again, after its task is cancelled
_ORDER = list(ChatState)
_NO_TITLE = "New chat"  # for a first message without a visible character


class Owner(Protocol):
    """What answers ask of the `Chats` that own them."""

    def move_to_front(self, chat: Chat) -> None:
        """List a chat first: a message was sent in it."""

    async def ensure_stored(self, chat: Chat, title: str) -> SessionRecord:
        """The stored chat, created with its first message. Raises memory.StoreError."""
        ...

    async def reread(self, chat: Chat) -> None:
        """Read a stored chat's record again. Raises memory.StoreError."""

    def mark(self, chat: Chat, *, failed: bool) -> None:
        """Mark a chat that is not visible: an answer has ended in it."""


class Answers:
    """Owned by `Chats`. Lives on the event loop; what blocks runs in a thread.

    Changes the entries, the queue, the state and the answer under way of a chat; its owner changes the rest.
    A message is in its chat's queue until the answer before it is done, then in `Chat.sending` until it is
    stored: a message that is interrupted before that returns to the queue.

    Args:
        explain: puts an error into words, for the reply that it ended.
    """

    def __init__(
        self,
        backend: ChatBackend,
        listener: ChatsListener,
        *,
        explain: Callable[[Exception], str],
        owner: Owner,
    ) -> None:
        self._backend = backend
        self._listener = listener
        self._explain = explain
        self._owner = owner
        self._held = False  # no new answers, because the model is being changed
        self._closing = False
        self._engine_down = False

    @property
    def ready(self) -> bool:
        """Whether there is a model to answer."""
        return self._backend.has_model and not self._held and not self._closing

    @property
    def engine_down(self) -> bool:
        """Whether the engine stopped by itself and has to be loaded again."""
        return self._engine_down

    def engine_back(self) -> None:
        """The engine has been loaded again."""
        self._engine_down = False

    def enqueue(self, chat: Chat, text: str) -> None:
        """Queue a message; it is sent as soon as the chat and the model are free."""
        chat.queue.append(text)
        self._owner.move_to_front(chat)
        self.start(chat)

    def start(self, chat: Chat) -> None:
        """Send what is queued as soon as the chat and the model are free; releases a queue on hold."""
        chat.on_hold = False
        self._begin(chat)

    def hold(self, chat: Chat) -> None:
        """Let the queue wait for the person."""
        chat.on_hold = bool(chat.queue)
        self._settle(chat)

    def restore(self, chat: Chat, queue: Sequence[str]) -> None:
        """Put back a queue of the last run, on hold."""
        chat.queue = list(queue)
        self.hold(chat)

    def discard(self, chat: Chat) -> None:
        """Drop the queue of a chat that was deleted."""
        chat.queue.clear()

    def regenerate(self, chat: Chat) -> bool:
        """Answer the last message once more; False when there is none, or nothing can answer now."""
        asked = [entry for entry in chat.entries or [] if entry.role == "user"]
        if chat.busy or not self._can_answer(chat) or not asked or asked[-1].forgotten:
            return False
        chat.task = asyncio.create_task(self._work(chat, again=True))
        return True

    def stop(self, chat: Chat) -> bool:
        """Stop the answer and keep its text. False when none is under way."""
        if not chat.busy:
            return False
        chat.stopping = True
        if chat.session is not None:
            chat.session.cancel()
        return True

    def take_back(self, chat: Chat) -> str | None:
        """Remove the newest message from the queue and return it."""
        if not chat.queue:
            return None
        text = chat.queue.pop()
        self._settle(chat)
        return text

    async def read(self, chat: Chat) -> None:
        """Read the chat's entries, once. Raises memory.StoreError."""
        if chat.entries is None and chat.record is not None:
            messages = await asyncio.to_thread(self._backend.memory.messages, chat.record.id)
            if chat.entries is None:  # another task may have read them meanwhile
                chat.entries = [Entry.stored(message) for message in messages if message.role != "system"]

    def forget(self, chat: Chat, message_ids: Set[str]) -> list[str]:
        """Empty the entries of forgotten messages, and drop reports that quote them.

        Returns:
            The texts that the entries had.
        """
        lost = [entry for entry in chat.entries or [] if entry.message_id in message_ids]
        if lost and chat.entries is not None:
            chat.entries = [entry.emptied() if entry in lost else entry for entry in chat.entries]
            self._listener.entries_changed(chat)
        if chat.last_context is not None and chat.last_context.quotes(message_ids):
            chat.last_context = None
        if chat.session is not None:
            chat.session.forget(message_ids)
        return [entry.text for entry in lost]

    async def pause(self, chats: Sequence[Chat]) -> None:
        """Stop these answers and start no new ones until `resume`."""
        self._held = True
        await self.finish(chats)

    def resume(self, chats: Sequence[Chat]) -> None:
        """Answer again, queued messages first; queues on hold stay so."""
        self._held = False
        for chat in list(chats):
            self._begin(chat)

    async def close(self, chats: Sequence[Chat]) -> None:
        """Stop these answers for good; see `finish`."""
        self._closing = True
        await self.finish(chats)

    async def finish(self, chats: Sequence[Chat]) -> None:
        """Stop these answers; returns when their text is stored, or after a few seconds."""
        tasks = [chat.task for chat in chats if chat.task is not None]
        for chat in chats:
            self.stop(chat)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_STOP_S)
            for task in late:
                task.cancel()
            if late:  # a store that blocks must not block leaving: `Chat.unstored` has the message
                await asyncio.wait(late, timeout=_CANCEL_S)

    def _can_answer(self, chat: Chat) -> bool:
        return self.ready and not chat.deleting

    def _begin(self, chat: Chat) -> None:
        if chat.queue and not chat.on_hold and not chat.busy and self._can_answer(chat):
            chat.task = asyncio.create_task(self._work(chat))
        self._settle(chat)

    async def _work(self, chat: Chat, *, again: bool = False) -> None:
        try:
            going = not again or await self._turn(chat, None)
            while going and chat.queue and not chat.on_hold and self._can_answer(chat):
                going = await self._turn(chat, chat.queue.pop(0))
        finally:
            chat.task = chat.session = None
            self._settle(chat)

    async def _turn(self, chat: Chat, text: str | None) -> bool:
        """One message and its answer; None answers the last message again.

        Returns:
            False when the answer failed, or the message has returned to the queue.
        """
        chat.stopping, chat.session, chat.sending = False, None, text
        self._settle(chat, ChatState.WAITING)
        before: list[Entry] = []
        added: list[Entry] = []
        try:
            await self.read(chat)
            before = list(chat.entries or [])
            added = self._show(chat, text)
            if await self._answer(chat, text, added[-1]):
                return True
            self._put_back(chat, added, before)
        except asyncio.CancelledError:
            if text is not None and not chat.sending_stored:
                self._put_back(chat, added, before)
            elif added:
                added[-1].settle("cancelled", chat.session)
            raise
        except Exception as error:
            self._failed(chat, added, before, error)
        finally:
            chat.sending = None
            for entry in added:
                entry.note_id(chat.session)
        return False

    def _show(self, chat: Chat, text: str | None) -> list[Entry]:
        entries = chat.entries = chat.entries if chat.entries is not None else []
        if text is None and entries and entries[-1].role == "assistant":
            entries.pop()
        added = [] if text is None else [Entry("user", mapped(text, sanitize))]
        added.append(Entry("assistant", status="streaming"))
        entries.extend(added)
        self._listener.entries_changed(chat)
        return added

    async def _answer(self, chat: Chat, text: str | None, reply: Entry) -> bool:
        """Send and stream; False when the chat was interrupted before anything was stored."""
        title = chat.title or self._backend.memory.title_from(sanitize(text or "")) or _NO_TITLE
        record = await self._owner.ensure_stored(chat, title)
        if not self._can_answer(chat) or (text is None and chat.stopping):
            return False
        session = chat.session = ChatSession(
            record.id,
            memory=self._backend.memory,
            source=self._backend.source(),
            settings=self._backend.session_settings(record),
        )
        stream = session.regenerate() if text is None else session.send(text, answer=not chat.stopping)
        async with aclosing(stream):
            async for chunk in stream:
                reply.grow(chunk.text)
                if chat.state is not ChatState.GENERATING:
                    self._settle(chat, ChatState.GENERATING)
        chat.last_context = session.last_context or chat.last_context
        reply.settle("cancelled" if session.finish_reason == "cancelled" else "complete", session)
        self._owner.mark(chat, failed=False)
        with suppress(StoreError):  # only the time of the last activity is at stake
            await self._owner.reread(chat)
        return True

    def _put_back(self, chat: Chat, added: list[Entry], before: list[Entry]) -> None:
        """Undo a turn if nothing of it is stored."""
        if chat.sending is not None:
            chat.queue.insert(0, chat.sending)
        self._withdraw(chat, added, before)

    def _withdraw(self, chat: Chat, added: list[Entry], before: list[Entry]) -> None:
        if added:
            chat.entries = before
            self._listener.entries_changed(chat)

    def _failed(self, chat: Chat, added: list[Entry], before: list[Entry], error: Exception) -> None:
        text = None if chat.sending_stored else chat.sending
        if text is not None:
            self._withdraw(chat, added, before)
        elif added:
            added[-1].settle("failed", chat.session, sanitize(self._explain(error)))
        self._engine_down |= isinstance(error, EngineClosed) and not self._held
        self._owner.mark(chat, failed=True)
        self._listener.chat_failed(chat, error)
        if text is not None:
            chat.sending = None
            self._listener.text_returned(chat, text)

    def _settle(self, chat: Chat, state: ChatState | None = None) -> None:
        if state is not None:
            chat.state = state
        elif not chat.busy:
            chat.state = ChatState.HELD if chat.queue else ChatState.IDLE
        else:
            chat.state = max(chat.state, ChatState.WAITING, key=_ORDER.index)
        self._listener.chat_changed(chat)
