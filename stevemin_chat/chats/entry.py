"""One message as a transcript shows it; the reply being written grows in place."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from stevemin_chat.text import Sanitizer, Typed, mapped, sanitize

if TYPE_CHECKING:
    from memory import ContextReport, Message, PromptSources, Status
    from stevemin_chat.chats.session import ChatSession

__all__ = ["Entry", "ending"]

_SETTLED = ("complete", "cancelled", "interrupted", "failed")
_ENDINGS = {
    "streaming": "still being written",
    "cancelled": "stopped",
    "interrupted": "interrupted: stevemin ended before the answer did",
    "failed": "failed",
}


@dataclass(eq=False, slots=True)
class Entry:
    """One message on the screen; `text` and `error` are free of control sequences.

    Args:
        text: of the person's messages a `Typed`, which knows what was pasted.
        timings: the fields of `engine.Timings` by name; None when unknown.
        dropped: earlier messages left out of the prompt.
        memories, learned: older messages that the prompt of a reply quoted, and facts that its question
            stated.
        documents: the passages of documents that it quoted, as "docs/memory.md:12-30".
        warned: how many of the memories and documents tell a model what to do, in words that are not the
            person's.
        message_id: None until the message is stored.
        forgotten: the person had its text deleted; the place stays.
        changed: set when a streaming reply grows or ends; for one reader.
    """

    role: str
    text: str = ""
    status: Status = "complete"
    finish_reason: str | None = None
    timings: Mapping[str, Any] | None = None
    error: str | None = None
    dropped: int = 0
    memories: int = 0
    learned: int = 0
    documents: tuple[str, ...] = ()
    warned: int = 0
    strategy: str = ""
    message_id: str | None = None
    forgotten: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _cleaner: Sanitizer = field(default_factory=Sanitizer)

    @classmethod
    def stored(cls, message: Message) -> Entry:
        """The entry of a stored message."""
        status: Status = message.status if message.status in _SETTLED else "interrupted"
        spans = [(part.start, part.end, part.origin) for part in message.quoted]
        entry = cls(
            role=message.role,
            text=mapped(Typed(message.content, spans), sanitize),
            status=status,
            finish_reason=message.finish_reason,
            timings=message.timings,
            error=sanitize(message.error) if message.error else None,
            message_id=message.id,
            forgotten=message.forgotten,
        )
        entry._note_sources(message.sources)
        return entry

    def emptied(self) -> Entry:
        """The same place with its text forgotten."""
        return Entry(self.role, message_id=self.message_id, forgotten=True)

    @property
    def live(self) -> bool:
        """Whether more text may come."""
        return self.status == "streaming"

    def grow(self, text: str) -> None:
        """Append text as the model wrote it."""
        self.text += self._cleaner.feed(text)
        self.changed.set()

    def settle(self, status: Status, session: ChatSession | None = None, error: str | None = None) -> None:
        """End the reply; `session` knows what it cost."""
        self.status, self.error = status, error
        if session is not None:
            self.finish_reason = session.finish_reason
            self.timings = asdict(session.last_timings) if session.last_timings else None
            self._note_context(session.last_context)
            self._note_sources(session.last_sources)
        self.changed.set()

    def note_id(self, session: ChatSession | None) -> None:
        """Note the id that the message is stored under; `session` stored it."""
        if session is not None:
            self.message_id = session.user_message_id if self.role == "user" else session.reply_id

    def _note_sources(self, sources: PromptSources | None) -> None:
        if sources is not None:
            self.memories, self.learned = len(sources.memories), len(sources.learned)
            self.documents = sources.documents
            self.warned = len(sources.instructions)

    def _note_context(self, report: ContextReport | None) -> None:
        if report is not None:
            self.dropped, self.strategy = len(report.dropped), report.strategy


def ending(status: str, error: str | None) -> str:
    """How a reply ended, in words; empty for a complete one."""
    words = _ENDINGS.get(status, "")
    return f"{words}: {error}" if words and error else words
