"""Frozen values that cross the memory's border. Sizes are in tokens, times are UTC in ISO 8601."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final, Literal

__all__ = [
    "HEAD",
    "KEEP",
    "AssembledContext",
    "Budget",
    "ContextReport",
    "Dropped",
    "Head",
    "Keep",
    "LayerReport",
    "Message",
    "Recall",
    "ReplyStatus",
    "Role",
    "SessionRecord",
    "Status",
    "Turn",
]

Role = Literal["system", "user", "assistant"]
Status = Literal["complete", "streaming", "cancelled", "interrupted", "failed"]
ReplyStatus = Literal["complete", "cancelled", "failed"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of the tree.

    Args:
        parent_id: the message it answers or follows; None starts a branch.
        content: the text as the person or the model wrote it, control characters included.
        status: "streaming" while a live process writes it, "interrupted" if that process died.
        finish_reason, timings, error: how a reply ended.
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
    """One part of the prompt: its text in tokens, and from how many messages it comes."""

    name: str
    tokens: int
    messages: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message of the branch that was left out, and why."""

    message_id: str
    role: Role
    tokens: int
    reason: str


@dataclass(frozen=True, slots=True)
class Recall:
    """An older message that a search brought back into the prompt."""

    message_id: str
    score: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextReport:
    """What went into a prompt, what it cost, and what was left out.

    Args:
        tokens: the exact length of the rendered prompt.
        layers: "system", "history", "question" and "template" (role marks and the like),
            which add up to `tokens`.
        sent: ids of the messages that are in the prompt word for word, oldest first.
        dropped: the other messages of the branch; with `sent` that is every one of them.
        notice: a sentence for the person when something was left out.
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

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AssembledContext:
    """The messages to send, and the account of how they were chosen."""

    messages: tuple[Turn, ...]
    report: ContextReport
