"""Frozen values that cross the memory's border. Sizes are in tokens, times are UTC in ISO 8601.

How far the search by meaning is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum, StrEnum
from typing import Any, Final, Literal

__all__ = [
    "HEAD",
    "KEEP",
    "AssembledContext",
    "Budget",
    "ContextReport",
    "Dropped",
    "Fact",
    "FactKind",
    "Forgotten",
    "Head",
    "IndexState",
    "IndexStatus",
    "Keep",
    "LayerReport",
    "Message",
    "Origin",
    "Passage",
    "Recall",
    "ReplyStatus",
    "Role",
    "Scope",
    "SessionRecord",
    "Status",
    "Summary",
    "Turn",
]


Role = Literal["system", "user", "assistant"]
Status = Literal["complete", "streaming", "cancelled", "interrupted", "failed"]
ReplyStatus = Literal["complete", "cancelled", "failed"]
FactKind = Literal["fact", "preference"]
Scope = Literal["session", "project", "everywhere"]


class Head(Enum):
    """Stands for the last message of a session's current branch."""

    HEAD = "head"


class Keep(Enum):
    """Stands for a value that stays as it is."""

    KEEP = "keep"


HEAD: Final = Head.HEAD
KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One chat.

    Args:
        id: eight hexadecimal digits.
        updated_at: the last activity: a message, or a reply's end.
        model, strategy, system_prompt: this session's own choice; None follows the settings.
        message_count: all messages of the tree, those of other branches included.
        head_id: the last message of the current branch; None while the session is empty.
        off_record: nothing of it enters long-term memory.
        project: the folder it belongs to.
        scope: how far its memory reaches, both ways: another chat is heard, and hears, if the scopes of
            both reach it.
    """

    id: str
    title: str
    created_at: str
    updated_at: str
    model: str | None = None
    strategy: str | None = None
    system_prompt: str | None = None
    message_count: int = 0
    head_id: str | None = None
    off_record: bool = False
    project: str | None = None
    scope: Scope = "everywhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of the tree.

    Args:
        parent_id: the message it answers or follows; None starts a branch.
        content: the text as the person or the model wrote it, control characters included.
        status: "streaming" while a live process writes it, "interrupted" if that process died.
        finish_reason, timings, error: how a reply ended.
        forgotten: its text was taken out for good; only its place in the tree is left.
    """

    id: str
    session_id: str
    parent_id: str | None
    role: Role
    content: str
    status: Status
    created_at: str
    model: str | None = None
    finish_reason: str | None = None
    timings: Mapping[str, Any] | None = None
    error: str | None = None
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as the chat template gets it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Budget:
    """What a prompt may cost.

    Args:
        tokens: all that the rendered prompt may take; the reply's share is already off.
        reply_tokens: the share kept for the reply, for the report only.
    """

    tokens: int
    reply_tokens: int = 0


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One part of the prompt: its text in tokens, and from how many messages, or facts, it comes."""

    name: str
    tokens: int
    messages: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message of the branch or a recall that was left out, and why.

    Args:
        score: of a recall.
    """

    message_id: str
    role: Role
    tokens: int
    reason: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of one message in long-term memory; a long message has several.

    Args:
        id: row number in the store, and id in the vector index.
        at: when the message was written.
        previous: the passage right before it on its branch.
    """

    id: int
    message_id: str
    session_id: str
    role: Role
    text: str
    at: str
    previous: int | None = None


@dataclass(frozen=True, slots=True)
class Recall:
    """A piece of an older message that a search found.

    Args:
        tokens: of `text`.
        signals: the parts of the score, by name.
        part: orders the pieces of a message; those of neighbours differ by one.
    """

    message_id: str
    score: float
    tokens: int
    session_id: str = ""
    role: Role = "user"
    at: str = ""
    text: str = ""
    signals: Mapping[str, float] = field(default_factory=dict)
    part: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """What some older messages of one session said, in short.

    Args:
        level: 0 is made of messages, 1 of summaries of level 0, and so on.
        sources: ids of the messages it stands for, oldest first.
    """

    id: int
    session_id: str
    level: int
    text: str
    sources: tuple[str, ...]
    created_at: str


@dataclass(frozen=True, slots=True)
class Fact:
    """Something known of the person, across sessions.

    Args:
        kind: "fact" or "preference".
        message_id: where it was said; None when the person wrote it into the profile.
        pinned: goes into every prompt.
        edited: the person has changed the words.
    """

    id: int
    text: str
    kind: FactKind
    message_id: str | None
    pinned: bool
    edited: bool
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where something remembered comes from, and what was made of it.

    Args:
        message: the source of a fact, or the message itself; None for a fact that the person wrote.
        facts, summaries: made from the message.
        passages, embedded: the pieces of the message that a search can find, and those with a vector.
    """

    item: Fact | Message
    message: Message | None = None
    session: SessionRecord | None = None
    facts: tuple[Fact, ...] = ()
    summaries: tuple[Summary, ...] = ()
    passages: int = 0
    embedded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What is gone.

    Args:
        messages: ids of those whose text was taken out: replies to what was forgotten are among them.
        facts, summaries, passages: how many were removed with them.
        sessions: ids of the chats that had the messages, whose KV caches should go too.
        pending: the vectors are left to the process that has the index; nothing finds them any more.
    """

    messages: tuple[str, ...] = ()
    facts: int = 0
    summaries: int = 0
    passages: int = 0
    sessions: tuple[str, ...] = ()
    pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextReport:
    """What went into a prompt, what it cost, and what was left out.

    Args:
        tokens: the exact length of the rendered prompt.
        layers: "system", "profile", "summary", "history", "memories", "question" and "template"
            (role marks and the like), which add up to `tokens`.
        sent: ids of the messages that are in the prompt word for word, oldest first.
        dropped: the other messages of the branch; with `sent` that is every one of them.
        recalls: what is quoted from older messages, in the prompt's order.
        notice: for the person, what the model knows nothing of.
        dropped_recalls: what the search found and the prompt does not quote, best first.
        facts, dropped_facts: ids of those in the profile, and of those that did not fit.
        summaries, dropped_summaries: the same for summaries.
        focus: what the strategy took the question for, if that decides anything: "past", "follow-up"
            or "plain".
    """

    strategy: str
    budget_tokens: int
    reply_tokens: int
    tokens: int
    layers: tuple[LayerReport, ...]
    sent: tuple[str, ...]
    dropped: tuple[Dropped, ...] = ()
    recalls: tuple[Recall, ...] = ()
    notice: str | None = None
    dropped_recalls: tuple[Dropped, ...] = ()
    facts: tuple[int, ...] = ()
    dropped_facts: tuple[int, ...] = ()
    summaries: tuple[int, ...] = ()
    dropped_summaries: tuple[int, ...] = ()
    focus: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AssembledContext:
    """The messages to send, and the account of how they were chosen."""

    messages: tuple[Turn, ...]
    report: ContextReport


class IndexState(StrEnum):
    """What a search by meaning can do now."""

    OFF = "off"  # nothing embeds here
    STARTING = "starting"
    INDEXING = "indexing"  # serves what it has
    READY = "ready"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How far the index is.

    Args:
        embedded, passages: how many passages have a vector, of how many.
        reason: a sentence, when it is unavailable.
    """

    state: IndexState
    embedded: int = 0
    passages: int = 0
    reason: str | None = None
