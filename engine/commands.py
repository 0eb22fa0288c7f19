"""What other threads ask of the engine thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from engine.grammar import Constraint
from engine.stream import TokenStream
from engine.types import Priority, SamplingParams

__all__ = ["Cancel", "Command", "Focus", "Forget", "Resume", "Submit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Generate an answer to a tokenised prompt.

    Args:
        tokens: the prompt; head_tokens: how many of them are the system prompt.
        submitted: when, on the engine's clock, in seconds.
    """

    stream: TokenStream
    tokens: list[int]
    sampling: SamplingParams
    session_id: str | None
    submitted: float
    head_tokens: int = 0
    priority: Priority = Priority.NORMAL
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a stream, wherever its request stands."""

    stream: TokenStream


@dataclass(frozen=True, slots=True)
class Resume:
    """The reader of a stream has caught up."""

    stream: TokenStream


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the KV cache of a session."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Focus:
    """Somebody looks at a session, or at none."""

    session_id: str | None


Command: TypeAlias = Submit | Cancel | Resume | Forget | Focus
