"""One chat: its stored record, and what only this run knows of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Set

    from memory import ContextReport, Scope, SessionRecord
    from stevemin_chat.chats.entry import Entry
    from stevemin_chat.chats.session import ChatSession

__all__ = ["Chat", "ChatState", "ChatsListener"]


class ChatState(Enum):
    """What a chat is doing."""

    IDLE = "idle"
    HELD = "held"  # queued messages wait for a model, or for the person
    WAITING = "waiting"  # sent, no token yet
    GENERATING = "generating"


@dataclass(eq=False, slots=True)
class Chat:
    """One chat. Only `Chats` and its `Answers` change it; everybody else reads it and asks them.

    Args:
        key: names the chat while the application runs.
        record: None until the first message is sent.
        entries: None until the chat is opened.
        draft: text in the prompt that was not sent.
        queue: messages to send one after another.
        sending: the message taken from the queue for the answer under way.
        on_hold: the queue comes from the last run; it is sent only when the person says so.
        unread, failed: something arrived, or failed, while another chat was on the screen.
        session, task: of the answer under way.
        stopping: the person wants the answer under way to stop.
        deleting: the store has been asked to delete the chat.
        last_context: what went into the last prompt of this run.
        settings: for the record, once there is one.
    """

    key: str
    title: str
    record: SessionRecord | None = None
    entries: list[Entry] | None = None
    draft: str = ""
    queue: list[str] = field(default_factory=list)
    sending: str | None = None
    on_hold: bool = False
    unread: bool = False
    failed: bool = False
    session: ChatSession | None = None
    task: asyncio.Task[None] | None = None
    state: ChatState = ChatState.IDLE
    stopping: bool = False
    deleting: bool = False
    last_context: ContextReport | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return self.task is not None

    @property
    def blank(self) -> bool:
        """Whether nothing was ever said here."""
        return self.record is None and not self.entries and not self.queue and not self.busy

    @property
    def sending_stored(self) -> bool:
        """Whether the message being sent is in the store; from then on it cannot be lost."""
        return self.session is not None and self.session.user_message_id is not None

    @property
    def unstored(self) -> list[str]:
        """Messages that only this process has, oldest first."""
        sending = [] if self.sending is None or self.sending_stored else [self.sending]
        return sending + self.queue

    @property
    def last_sent(self) -> list[str]:
        """What the person said, oldest first."""
        return [entry.text for entry in self.entries or [] if entry.role == "user" and not entry.forgotten]

    @property
    def report(self) -> ContextReport | None:
        """What went into the last prompt of this run, including the answer under way."""
        now = self.session.last_context if self.session is not None else None
        return now or self.last_context

    def quotes(self, message_ids: Set[str]) -> bool:
        """Whether the last prompt of this run, or of the answer under way, quotes one of these messages."""
        now = self.session.last_context if self.session is not None else None
        return any(report is not None and report.quotes(message_ids) for report in (now, self.last_context))

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
        """Whether the chat is kept out of long-term memory."""
        return bool(self.record.off_record if self.record else self.settings.get("off_record"))

    @property
    def scope(self) -> Scope | None:
        """Which chats share memories with this one; None follows the settings."""
        own: Scope | None = self.record.scope if self.record else self.settings.get("scope")
        return own


class ChatsListener(Protocol):
    """Hears on the event loop what has changed; must not block or raise."""

    def chats_changed(self) -> None:
        """Chats were added, deleted or moved."""

    def chat_changed(self, chat: Chat) -> None:
        """A chat's state, title, queue or unread mark changed."""

    def entries_changed(self, chat: Chat) -> None:
        """Entries were added or deleted. A growing reply sets its own `Entry.changed` instead."""

    def text_returned(self, chat: Chat, text: str) -> None:
        """A message could not be stored; this is its text."""

    def draft_forgotten(self, chat: Chat) -> None:
        """The chat's draft was a message that is now forgotten; the draft is empty."""

    def chat_failed(self, chat: Chat, error: Exception) -> None:
        """An answer failed."""

    def failed(self, error: Exception) -> None:
        """Something failed that concerns no one chat; the application runs on."""
