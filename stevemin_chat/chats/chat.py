"""One chat: what is stored of it, and what only this run knows.

What a transcript shows: one entry for each message, with the one being written growing in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stevemin_chat.text import Sanitizer, sanitize

if TYPE_CHECKING:
    from memory import ContextReport, Message, Scope, SessionRecord
    from stevemin_chat.chats.session import ChatSession

__all__ = [
    "Chat",
    "ChatState",
    "ChatsListener",
    "Entry",
    "Status",
]


class ChatState(Enum):
    """What a chat is doing."""

    IDLE = "idle"
    HELD = "held"  # messages wait for a model, or for the person after a failure
    WAITING = "waiting"  # sent, no token yet
    GENERATING = "generating"


@dataclass(eq=False, slots=True)
class Chat:
    """One chat.

    Args:
        key: names it as long as the application runs.
        record: None until the first message is sent.
        entries: None until the chat is opened.
        draft: text in the prompt that was not sent.
        queue: messages to send one after another.
        unread, failed: something came, or went wrong, while another chat was on the screen.
        session, task: of the answer on its way.
        stopping: the person wants the answer on its way to stop.
        last_context: what went into the last prompt of this run.
        settings: for the record, when there will be one.
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
    stopping: bool = False
    last_context: ContextReport | None = None
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
        return [entry.text for entry in self.entries or [] if entry.role == "user" and not entry.forgotten]

    @property
    def report(self) -> ContextReport | None:
        """What went into the last prompt of this run, that of an answer on its way included."""
        now = self.session.last_context if self.session is not None else None
        return now or self.last_context

    @property
    def strategy(self) -> str | None:
        """This chat's own context strategy; None follows the settings."""
        own: str | None = self.record.strategy if self.record else self.settings.get("strategy")
        return own

    @property
    def system_prompt(self) -> str | None:
        """This chat's own system prompt; None follows the settings."""
        own: str | None = self.record.system_prompt if self.record else self.settings.get("system_prompt")
        return own

    @property
    def off_record(self) -> bool:
        """Whether nothing of it enters long-term memory."""
        return bool(self.record.off_record if self.record else self.settings.get("off_record"))

    @property
    def scope(self) -> Scope | None:
        """How far this chat's memory reaches; None follows the settings."""
        own: Scope | None = self.record.scope if self.record else self.settings.get("scope")
        return own


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

    def draft_forgotten(self, chat: Chat) -> None:
        """What was typed and not sent had been forgotten, and is gone."""

    def chat_failed(self, chat: Chat, error: Exception) -> None:
        """An answer failed."""


Status = Literal["complete", "streaming", "cancelled", "interrupted", "failed"]


@dataclass(eq=False, slots=True)
class Entry:
    """One message on the screen; `text` and `error` are free of control sequences.

    Args:
        timings: as `engine.Timings`, by name; None when unknown.
        dropped: earlier messages that were left out of the prompt.
        message_id: None while it is being written.
        forgotten: its text was taken out; the place stays.
        changed: set when a reply that is being written has grown or ended; for its one reader.
    """

    role: str
    text: str = ""
    status: Status = "complete"
    finish_reason: str | None = None
    timings: Mapping[str, Any] | None = None
    error: str | None = None
    dropped: int = 0
    strategy: str = ""
    message_id: str | None = None
    forgotten: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _cleaner: Sanitizer = field(default_factory=Sanitizer)

    @classmethod
    def stored(cls, message: Message) -> Entry:
        """What the store holds of a message."""
        status: Status = message.status if message.status in _SETTLED else "interrupted"
        return cls(
            role=message.role,
            text=sanitize(message.content),
            status=status,
            finish_reason=message.finish_reason,
            timings=message.timings,
            error=sanitize(message.error) if message.error else None,
            message_id=message.id,
            forgotten=message.forgotten,
        )

    def emptied(self) -> Entry:
        """The same place, forgotten."""
        return Entry(self.role, message_id=self.message_id, forgotten=True)

    @property
    def live(self) -> bool:
        """Whether more text may come."""
        return self.status == "streaming"

    def grow(self, text: str) -> None:
        """Add text as the model gave it."""
        self.text += self._cleaner.feed(text)
        self.changed.set()

    def settle(self, status: Status, session: ChatSession | None = None, error: str | None = None) -> None:
        """The reply has ended; `session` knows what it cost."""
        self.status, self.error = status, error
        if session is not None:
            self.finish_reason = session.finish_reason
            self.timings = asdict(session.last_timings) if session.last_timings else None
            self._note_context(session.last_context)
        self.changed.set()

    def _note_context(self, report: ContextReport | None) -> None:
        if report is not None:
            self.dropped, self.strategy = len(report.dropped), report.strategy


_SETTLED = ("complete", "cancelled", "interrupted", "failed")
