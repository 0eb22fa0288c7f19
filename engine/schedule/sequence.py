"""One request's mutable state, as scheduler and core see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from engine.types import Priority, SamplingParams

__all__ = ["Sequence", "SequenceStatus"]


class SequenceStatus(StrEnum):
    """Where a sequence stands between two steps."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt that grows by the tokens generated for it.

    There is no prefill phase and no decode phase: `computed` catches up with `len(tokens)`, by many
    tokens a step while the prompt is read and by one afterwards (as in vLLM V1). A preempted
    sequence starts again at `computed == 0` and keeps its tokens.

    Args:
        head_tokens: tokens at the start that other chats are likely to share: the system prompt.

    Attributes:
        base_priority: what the request asked for, before anybody looked at its session.
        leader, shared: while another sequence reads the same `shared` tokens, this one waits for it.
        paused: its reader lags too far behind; no token is generated meanwhile.
    """

    request_id: int
    tokens: list[int]
    sampling: SamplingParams
    session_id: str | None = None
    priority: Priority = Priority.NORMAL
    head_tokens: int = 0
    prompt_tokens: int = field(init=False)
    base_priority: Priority = field(init=False)
    status: SequenceStatus = SequenceStatus.WAITING
    slot: int | None = None
    computed: int = 0
    cached_tokens: int = 0
    preemptions: int = 0
    leader: Sequence | None = None
    shared: int = 0
    paused: bool = False

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)
        self.base_priority = self.priority

    def find(self, tokens: int) -> None:
        """Enter that so many tokens were found in the KV cache; after a preemption they are its own."""
        self.computed = tokens
        if not self.preemptions:
            self.cached_tokens = tokens

    @property
    def remaining(self) -> int:
        """Tokens that are known but not in the KV cache yet; 1 for a sequence that decodes."""
        return len(self.tokens) - self.computed

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def tokens_left(self) -> int | None:
        """Tokens that may still be generated; None when only the context limits them."""
        limit = self.sampling.max_tokens
        return None if limit is None else limit - self.completion_tokens
