"""All open chats and the answers that are being written in them; knows no screen.

Every chat has a queue of messages and at most one task that works through it, so that an answer goes on
whether or not anyone looks at it. All methods belong to the event loop; what blocks runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from stevemin_chat.entries import Entry
from stevemin_chat.sanitize import sanitize

if TYPE_CHECKING:
    from memory import ContextReport, SessionRecord
    from stevemin_chat.session import ChatSession
    from stevemin_chat.wiring import Runtime

__all__ = ["Chat", "ChatState", "Chats", "ChatsListener", "title_from"]

_TITLE_LENGTH = 48  # characters
_PATIENCE = 3.0  # seconds that closing waits for partial answers to be stored


class ChatState(Enum):
    """What a chat is doing."""

    IDLE = "idle"
    HELD = "held"  # messages wait for a model
    WAITING = "waiting"  # sent, no token yet
    GENERATING = "generating"


@dataclass(eq=False, slots=True)
class Chat:
    """One chat: what is stored of it, and what only this run knows.

    Args:
        record: None until the first message is sent.
        entries: None until the chat is opened.
        draft: text in the prompt that was not sent.
        queue: messages to send one after another.
        unread: something came while another chat was on the screen.
    """

    key: str
    title: str
    record: SessionRecord | None = None
    entries: list[Entry] | None = None
    draft: str = ""
    queue: list[str] = field(default_factory=list)
    unread: bool = False
    failed: bool = False
    session: ChatSession | None = None
    task: asyncio.Task[None] | None = None
    state: ChatState = ChatState.IDLE
    last_context: ContextReport | None = None
    stopping: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self.task is not None

    @property
    def blank(self) -> bool:
        """Nothing was ever said here."""
        return self.record is None and not self.entries and not self.queue and not self.busy

    @property
    def last_sent(self) -> list[str]:
        """What the person said, oldest first."""
        return [entry.text for entry in self.entries or [] if entry.role == "user"]


class ChatsListener(Protocol):
    """Told on the event loop what has changed; must not block or raise."""

    def chats_changed(self) -> None:
        """Chats came, went or moved."""

    def chat_changed(self, chat: Chat) -> None:
        """State, title, queue or unread mark."""

    def entries_changed(self, chat: Chat) -> None:
        """Entries came or went; growth of the last one is told by its own event."""

    def text_returned(self, chat: Chat, text: str) -> None:
        """A message could not be stored: this is its text."""

    def chat_failed(self, chat: Chat, error: Exception) -> None:
        """An answer failed."""


class Chats:
    """The chats of one running application, the latest used first."""

    def __init__(
        self, runtime: Runtime, listener: ChatsListener, *, explain: Callable[[Exception], str]
    ) -> None:
        self.runtime = runtime
        self.all: list[Chat] = []
        self.visible: Chat | None = None
        self.held = False  # no new answers, because the model is being changed
        self._listener = listener
        self._explain = explain
        self._closing = False
        self._made = 0

    @property
    def ready(self) -> bool:
        """Whether there is a model to answer."""
        return self.runtime.engine is not None and not self.held and not self._closing

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
        self.all = [Chat(record.id, sanitize(record.title or "Untitled"), record) for record in records]
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

    async def open(self, chat: Chat) -> None:
        """Make sure that the entries are there, and look at the chat from now on.

        Raises:
            memory.StoreError: the store cannot be read.
        """
        await self._read(chat)
        self.visible = chat
        chat.unread = chat.failed = False
        self._listener.chat_changed(chat)

    async def rename(self, chat: Chat, title: str) -> None:
        """Raises memory.StoreError."""
        title = sanitize(title).strip()
        if chat.record is not None:
            await asyncio.to_thread(self.runtime.memory.rename_session, chat.record.id, title)
        chat.title = title
        self._listener.chat_changed(chat)

    async def configure(self, chat: Chat, **settings: Any) -> None:
        """Store a chat's strategy, system prompt or model; counts from its next answer.

        Raises:
            memory.UnknownStrategy, memory.StoreError
        """
        if chat.record is None:
            chat.settings |= settings
            return
        memory, session_id = self.runtime.memory, chat.record.id
        await asyncio.to_thread(lambda: memory.set_session(session_id, **settings))
        chat.record = await asyncio.to_thread(memory.session, session_id)

    async def delete(self, chat: Chat) -> None:
        """Stop and remove a chat. Raises memory.StoreError."""
        chat.queue.clear()
        await self._finish([chat])
        if chat.record is not None:
            await self.runtime.delete_session(chat.record.id)
        self.all.remove(chat)
        if self.visible is chat:
            self.visible = None
        self._listener.chats_changed()

    def send(self, chat: Chat, text: str) -> None:
        """Queue a message; it goes out as soon as the chat and the model are free."""
        chat.queue.append(text)
        self.all.remove(chat)
        self.all.insert(0, chat)
        self._listener.chats_changed()
        self.start(chat)

    def regenerate(self, chat: Chat) -> bool:
        """Ask for another answer to the last message; False when there is none, or no one to answer."""
        if chat.busy or not self.ready or not chat.last_sent:
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

    def pump(self) -> None:
        """Start what waited for a model."""
        for chat in self.all:
            self.start(chat)

    async def pause(self) -> None:
        """Stop all answers and start no new ones until `resume`."""
        self.held = True
        await self._finish(self.busy)

    def resume(self) -> None:
        """Answer again."""
        self.held = False
        self.pump()

    async def close(self) -> None:
        """Stop all answers; returns when their text is stored, or after some seconds."""
        self._closing = True
        await self._finish(self.busy)

    async def _read(self, chat: Chat) -> None:
        if chat.entries is None and chat.record is not None:
            messages = await asyncio.to_thread(self.runtime.memory.messages, chat.record.id)
            if chat.entries is None:  # another task may have read it meanwhile
                chat.entries = [Entry.stored(message) for message in messages if message.role != "system"]

    async def _finish(self, chats: list[Chat]) -> None:
        tasks = [chat.task for chat in chats if chat.task is not None]
        for chat in chats:
            self.stop(chat)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_PATIENCE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def start(self, chat: Chat) -> None:
        """Send what is queued, if the chat and the model are free."""
        if chat.queue and not chat.busy and self.ready:
            chat.task = asyncio.create_task(self._work(chat))
        self._settle(chat)

    def _settle(self, chat: Chat, state: ChatState | None = None) -> None:
        idle = ChatState.HELD if chat.queue else ChatState.IDLE
        chat.state = state or (
            idle if not chat.busy else max(chat.state, ChatState.WAITING, key=_ORDER.index)
        )
        self._listener.chat_changed(chat)

    async def _work(self, chat: Chat, *, again: bool = False) -> None:
        try:
            going = True
            if again:
                going = await self._turn(chat, None)
            while going and chat.queue and self.ready:
                going = await self._turn(chat, chat.queue.pop(0))
        finally:
            chat.task = chat.session = None
            self._settle(chat)

    async def _turn(self, chat: Chat, text: str | None) -> bool:
        """One message and its answer; `None` answers the last message again. False when it failed."""
        chat.stopping = False
        self._settle(chat, ChatState.WAITING)
        added: list[Entry] = []
        try:
            await self._read(chat)
            added = self._show(chat, text)
            await self._answer(chat, text, added[-1])
        except asyncio.CancelledError:
            if added:
                added[-1].settle("cancelled", chat.session)
            raise
        except Exception as error:
            self._failed(chat, text, added, error)
            return False
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
        self._mark(chat)

    async def _stored(self, chat: Chat, text: str) -> SessionRecord:
        memory = self.runtime.memory
        if chat.record is None:
            chat.title = chat.title or title_from(text)
            chat.record = await asyncio.to_thread(memory.create_session, chat.title)
            if chat.settings:
                await self.configure(chat, **chat.settings)
            self._listener.chat_changed(chat)
        return chat.record

    def _failed(self, chat: Chat, text: str | None, added: list[Entry], error: Exception) -> None:
        session = chat.session
        kept = text is None or (session is not None and session.user_message_id is not None)
        if kept and added:
            added[-1].settle("failed", session, sanitize(self._explain(error)))
        elif chat.entries is not None:
            chat.entries = [entry for entry in chat.entries if entry not in added]
            self._listener.entries_changed(chat)
        self._mark(chat, failed=True)
        self._listener.chat_failed(chat, error)
        if not kept and text is not None:
            self._listener.text_returned(chat, text)

    def _mark(self, chat: Chat, *, failed: bool = False) -> None:
        if chat is not self.visible:
            chat.unread = True
            chat.failed = failed


_ORDER = list(ChatState)


def title_from(text: str) -> str:
    """A title out of a first message."""
    line = " ".join(sanitize(text).split())
    if len(line) <= _TITLE_LENGTH:
        return line or "Untitled"
    return line[: _TITLE_LENGTH - 1].rsplit(" ", 1)[0] + "…"
