"""All chats of one running application; knows no screen.

A chat's answer continues whether or not the chat is on the screen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from memory import STRATEGIES, UnknownStrategy
from stevemin_chat.chats.answering import Answers
from stevemin_chat.chats.chat import Chat, ChatsListener
from stevemin_chat.chats.drafts import Drafts, DraftsNotRead, DraftsUnreadable, KeptDraft
from stevemin_chat.chats.reply_writer import undisturbed
from stevemin_chat.text import one_line

if TYPE_CHECKING:
    from memory import SessionRecord
    from stevemin_chat.chats.ports import ChatBackend

__all__ = ["Chats"]


class Chats:
    """The chats, the latest used first. Lives on the event loop; what blocks runs in a thread.

    Only `Chats` and its `answers` change a chat, each fields of its own; everybody else asks them.

    Args:
        drafts: keeps drafts and queues from one run to the next.
        explain: puts an error into words, for the reply that it ended.

    Attributes:
        answers: sends messages and writes the answers.
        all: every chat, stored or not.
    """

    def __init__(
        self,
        backend: ChatBackend,
        listener: ChatsListener,
        *,
        drafts: Drafts,
        explain: Callable[[Exception], str],
    ) -> None:
        self.all: list[Chat] = []
        self.answers = Answers(backend, listener, explain=explain, owner=self)
        self._visible: Chat | None = None
        self._backend = backend
        self._listener = listener
        self._drafts = drafts
        self._drafts_read = False
        self._unclaimed: list[KeptDraft] = []  # of chats that could not be read
        self._writing = asyncio.Lock()
        self._made = 0

    @property
    def visible(self) -> Chat | None:
        """The chat on the screen; None before one is looked at, and after it was deleted."""
        return self._visible

    @property
    def busy(self) -> list[Chat]:
        """Chats with an answer under way."""
        return [chat for chat in self.all if chat.busy]

    async def load(self) -> None:
        """Read the stored chats, and the drafts and queues of the last run.

        A queue of the last run is on hold: `answers.start` or the next message in its chat sends it. A
        file of drafts that is damaged or cannot be read is reported to the listener.

        Raises:
            memory.StoreError: the store cannot be read; drafts of unsaved chats are loaded nevertheless.
        """
        kept: list[KeptDraft] = []
        may_write = True
        try:
            kept = await asyncio.to_thread(self._drafts.read)
        except (DraftsUnreadable, DraftsNotRead) as error:
            may_write = isinstance(error, DraftsUnreadable)  # then the damaged file was renamed
            self._listener.failed(error)
        records: list[SessionRecord] | None = None
        try:
            records = await asyncio.to_thread(self._backend.memory.sessions)
        finally:
            self.all = [Chat(record.id, one_line(record.title), record) for record in records or []]
            self._visible = None
            self._restore(kept, store_read=records is not None)
            self._drafts_read = may_write
            self._listener.chats_changed()

    def opening(self) -> Chat:
        """The chat to start with: an unsaved one with a draft from the last run, else a new one."""
        return next((chat for chat in self.all if chat.record is None and chat.draft), None) or self.new()

    def new(self, title: str = "") -> Chat:
        """Add a chat, stored with its first message; a blank one without draft or settings is used again."""
        for chat in self.all:
            if chat.blank and not (chat.draft or chat.settings or title):
                return chat
        chat = self._unsaved(title)
        self.all.insert(0, chat)
        self._listener.chats_changed()
        return chat

    def look_at(self, chat: Chat | None) -> None:
        """Make a chat the visible one; the engine serves it before those in the background."""
        self._visible = chat
        self._backend.focus(chat.record.id if chat is not None and chat.record is not None else None)

    async def of_session(self, session_id: str) -> Chat:
        """The chat of a stored session, even one that another process added. Raises memory.StoreError."""
        for chat in self.all:
            if chat.record is not None and chat.record.id == session_id:
                return chat
        record = await asyncio.to_thread(self._backend.memory.session, session_id)
        chat = Chat(record.id, one_line(record.title), record)
        self.all.append(chat)
        self._listener.chats_changed()
        return chat

    async def open(self, chat: Chat) -> None:
        """Read a chat's entries and mark it as read. Raises memory.StoreError."""
        await self.answers.read(chat)
        chat.unread = chat.failed = False
        self._listener.chat_changed(chat)

    def mark(self, chat: Chat, *, failed: bool) -> None:
        """Mark a chat that is not visible: an answer has ended in it."""
        if chat is not self._visible:
            chat.unread, chat.failed = True, failed

    def move_to_front(self, chat: Chat) -> None:
        """List a chat first: a message was sent in it."""
        self.all.remove(chat)
        self.all.insert(0, chat)
        self._listener.chats_changed()

    def keep_draft(self, chat: Chat, text: str) -> None:
        """Note what is typed in a chat and not sent."""
        chat.draft = text

    async def ensure_stored(self, chat: Chat, title: str) -> SessionRecord:
        """The stored chat, created with its first message.

        Args:
            title: for a chat without one.

        Raises:
            memory.StoreError
        """
        if chat.record is None:
            chat.title = chat.title or title
            await undisturbed(self._create(chat))
        assert chat.record is not None
        if chat.settings:  # those of a failed attempt, too: a chat that is off the record stays off
            await self.configure(chat, **chat.settings)
            chat.settings.clear()
        return chat.record

    async def reread(self, chat: Chat) -> None:
        """Read a stored chat's record again. Raises memory.StoreError."""
        assert chat.record is not None
        chat.record = await asyncio.to_thread(self._backend.memory.session, chat.record.id)

    async def rename(self, chat: Chat, title: str) -> None:
        """Raises memory.StoreError."""
        title = one_line(title)
        if chat.record is not None:
            memory, session_id = self._backend.memory, chat.record.id
            chat.record = await asyncio.to_thread(memory.rename_session, session_id, title)
            title = one_line(chat.record.title)
        chat.title = title
        self._listener.chat_changed(chat)

    async def configure(self, chat: Chat, **settings: Any) -> None:
        """Set a chat's strategy, system prompt, scope or `off_record`; applies from its next answer.

        Args:
            settings: as `Memory.set_session` takes them.

        Raises:
            memory.UnknownStrategy, memory.StoreError
        """
        strategy = settings.get("strategy")
        if chat.record is not None:
            memory, session_id = self._backend.memory, chat.record.id
            chat.record = await asyncio.to_thread(lambda: memory.set_session(session_id, **settings))
        elif strategy is not None and strategy not in STRATEGIES:
            raise UnknownStrategy(strategy, tuple(STRATEGIES))
        else:
            chat.settings |= settings
        self._listener.chat_changed(chat)

    async def delete(self, chat: Chat) -> None:
        """Stop a chat's answer and delete the chat with its queue and draft.

        Raises:
            memory.StoreError: the chat is still there; its queue waits for the person.
        """
        if chat.deleting or chat not in self.all:
            return
        chat.deleting = True
        try:
            await self.answers.finish([chat])
            if chat.record is not None:
                await self._backend.delete_session(chat.record.id)
        except BaseException:
            chat.deleting = False
            self.answers.hold(chat)
            raise
        self.answers.discard(chat)
        chat.draft = ""
        self.all.remove(chat)
        if chat is self._visible:
            self.look_at(None)
        self._listener.chats_changed()

    async def forget(self, message_ids: Set[str], session_ids: Set[str], texts: Set[str]) -> None:
        """Delete messages that the store has forgotten from what this run knows of all chats.

        A draft that was recalled with the arrow key from a forgotten message goes, too, even if that was in
        an earlier run. The records of `session_ids` are read again: a chat titled by a forgotten message now
        has another title.

        Args:
            texts: what the messages said that were named.

        Raises:
            memory.StoreError: not every title was read.
        """
        lost = {*texts, *(text for chat in self.all for text in self.answers.forget(chat, message_ids))}
        for chat in self.all:
            if chat.draft and chat.draft in lost:
                chat.draft = ""
                self._listener.draft_forgotten(chat)
        for chat in self.all:
            if chat.record is not None and chat.record.id in session_ids:
                before = chat.record.title
                await self.reread(chat)
                if chat.record.title != before:
                    chat.title = one_line(chat.record.title)
                self._listener.chat_changed(chat)

    async def pause(self) -> None:
        """Stop all answers and start no new ones until `resume`."""
        await self.answers.pause(self.busy)

    def resume(self) -> None:
        """Answer again, starting with what is queued; queues on hold stay so."""
        self.answers.resume(self.all)

    async def keep_drafts(self) -> None:
        """Write drafts and queues to disk if they have changed. Disk errors are ignored."""
        async with self._writing:
            if not self._drafts_read:
                return  # the file holds what this run has not seen
            kept = self._drafts.changes(self.all, self._unclaimed)
            if kept is not None:
                with suppress(OSError):  # the store reports a full disk
                    await undisturbed(asyncio.to_thread(self._drafts.write, kept))

    async def close(self) -> None:
        """Stop all answers and store their text, drafts and queues. Takes a few seconds at most."""
        await self.answers.close(self.busy)
        await self.keep_drafts()

    def _restore(self, kept: Sequence[KeptDraft], *, store_read: bool) -> None:
        by_session = {chat.record.id: chat for chat in self.all if chat.record is not None}
        unsaved = []
        for item in kept:
            if item.session_id is None:
                chat = self._unsaved(item.title)
                chat.settings |= item.settings
                unsaved.append(chat)
            elif item.session_id in by_session:
                chat = by_session[item.session_id]
            else:
                if not store_read:
                    self._unclaimed.append(item)
                continue
            chat.draft = item.draft
            self.answers.restore(chat, item.queue)
        self.all[:0] = unsaved

    def _unsaved(self, title: str) -> Chat:
        self._made += 1
        return Chat(f"new-{self._made}", one_line(title), entries=[])

    async def _create(self, chat: Chat) -> None:
        chat.record = await self._backend.create_session(chat.title)
        if chat is self._visible:
            self._backend.focus(chat.record.id)  # before this there was no session to favour
        self._listener.chat_changed(chat)
