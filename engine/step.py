"""The two values that scheduler and backend exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

__all__ = ["Copy", "Move", "Restore", "Save", "State", "StepPlan", "StepResult", "StepStatus", "Trim", "Work"]

State: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Trim:
    """Cut the KV cache of a slot back to its first `keep` tokens."""

    slot: int
    keep: int


@dataclass(frozen=True, slots=True)
class Copy:
    """Make the tokens at positions [start, end) of `source` also those of `slot`, in place of what is there.

    `slot` holds at least `start` tokens, the same as `source`. In a unified KV cache both then share the
    cells and nothing is copied; in a split one the stream is, and `slot` must end at or before `end`.
    """

    source: int
    slot: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Save:
    """Read the KV state of a slot, which holds `tokens`, into `StepResult.saved` under `key`."""

    slot: int
    key: str
    tokens: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Restore:
    """Write a saved KV state of `tokens` tokens into an empty slot."""

    slot: int
    tokens: int
    state: State = field(repr=False)


Move: TypeAlias = Trim | Copy | Save | Restore


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens of one sequence to compute in this step.

    Args:
        request_id: whose they are; also the key of its sampler.
        slot: llama.cpp sequence id.
        start: position of the first token.
        tokens: token ids, at least one.
        rows: how many of the last tokens get logits: none in the middle of a prompt, one to sample the
            next token, 1 + d when the last d tokens are drafts to be checked.
    """

    request_id: int
    slot: int
    start: int
    tokens: tuple[int, ...]
    rows: int

    @property
    def drafts(self) -> tuple[int, ...]:
        """The guessed tokens at the end."""
        return self.tokens[len(self.tokens) - self.rows + 1 :] if self.rows > 1 else ()

    @property
    def is_prefill(self) -> bool:
        """Whether this is part of a prompt: more than the one token, and its guesses, of a decode."""
        return len(self.tokens) > self.rows


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step does: moves in their order, then one forward over all work."""

    work: tuple[Work, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens in the batch."""
        return sum(len(item.tokens) for item in self.work)

    @property
    def prefill_tokens(self) -> int:
        """Those of prompts."""
        return sum(len(item.tokens) for item in self.work if item.is_prefill)

    @property
    def draft_tokens(self) -> int:
        """Those that are guesses."""
        return sum(len(item.drafts) for item in self.work)


class StepStatus(Enum):
    """The outcome of one forward, from llama_decode's return code."""

    OK = "ok"
    NO_KV = "no free KV cells"  # 1: nothing changed
    INVALID = "invalid batch"  # -1: nothing changed
    PARTIAL = "partly computed"  # 2, -2, -3: ask `Backend.resident` what is there


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came out of a step.

    Args:
        status: how the forward ended; unless it is OK nothing was sampled. PARTIAL without a forward when
            a state could not be restored.
        sampled: request id -> token ids: one, or 1 + a where `a` drafts were right. The cells of
            wrong drafts are gone already.
        saved: key of a `Save` -> state; a key is missing when it could not be read.
        decode_s: seconds inside llama.cpp's forward.
        sample_s: seconds spent choosing tokens.
        swap_s: seconds spent saving and restoring.
    """

    status: StepStatus = StepStatus.OK
    sampled: dict[int, tuple[int, ...]] = field(default_factory=dict)
    saved: dict[str, State] = field(default_factory=dict)
    decode_s: float = 0.0
    sample_s: float = 0.0
    swap_s: float = 0.0
