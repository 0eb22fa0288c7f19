"""The two values that scheduler and backend exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

__all__ = ["StepPlan", "StepResult", "StepStatus", "Trim", "Work"]


@dataclass(frozen=True, slots=True)
class Trim:
    """Cut the KV cache of a slot back to its first `keep` tokens before the step runs."""

    slot: int
    keep: int


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens of one sequence to compute in this step.

    Args:
        request_id: whose they are; also the key of its sampler.
        slot: llama.cpp sequence id.
        start: position of the first token.
        tokens: token ids, at least one.
        sample: whether the last one's logits are sampled.
    """

    request_id: int
    slot: int
    start: int
    tokens: tuple[int, ...]
    sample: bool


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What one step does: trims first, then one forward over all work."""

    work: tuple[Work, ...] = ()
    trims: tuple[Trim, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens in the batch."""
        return sum(len(item.tokens) for item in self.work)


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
        status: how the forward ended; unless it is OK nothing was sampled.
        sampled: request id -> token id.
        decode_s: seconds inside llama.cpp's forward.
        sample_s: seconds spent choosing tokens.
    """

    status: StepStatus = StepStatus.OK
    sampled: dict[int, int] = field(default_factory=dict)
    decode_s: float = 0.0
    sample_s: float = 0.0
