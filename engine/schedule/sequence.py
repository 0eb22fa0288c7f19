"""One request's tokens and counts. The scheduler changes them; everything else only reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.types import Priority, RequestPhase, SamplingParams

__all__ = ["TokenSequence"]


@dataclass(slots=True, eq=False)
class TokenSequence:
    """A prompt that grows by the tokens generated for it.

    Prefill and decode are the same thing at different speeds: `computed` catches up with `len(tokens)`, by
    many tokens a step while the prompt is computed and by one afterwards (as in vLLM V1). A preempted
    sequence starts again at `computed == 0` and keeps its tokens.

    Args:
        head_tokens: tokens at the start that other chats probably share: the system prompt.
        turn_tokens: tokens up to where the turn of the answer begins; 0 when unknown.

    Attributes:
        base_priority: what the request asked for, regardless of focus.
        slot: llama.cpp sequence id while it runs; None while it waits and after its end.
        computed: tokens that are in the KV cache; cached_tokens: those that were there at admission.
        leader, shared: another sequence computes the same `shared` tokens, and this one waits for it.
        forgotten: its session was forgotten; nothing of it is kept.
        lagging: its reader is too far behind; held: somebody paused it. Until both are over no token is
            generated.
    """

    request_id: int
    tokens: list[int]
    sampling: SamplingParams
    session_id: str | None = None
    priority: Priority = Priority.NORMAL
    head_tokens: int = 0
    turn_tokens: int = 0
    prompt_tokens: int = field(init=False)
    base_priority: Priority = field(init=False)
    slot: int | None = None
    computed: int = 0
    cached_tokens: int = 0
    preemptions: int = 0
    leader: TokenSequence | None = None
    shared: int = 0
    forgotten: bool = False
    lagging: bool = False
    held: bool = False

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)
        self.base_priority = self.priority

    @property
    def paused(self) -> bool:
        """Whether nothing is computed for it now."""
        return self.lagging or self.held

    @property
    def phase(self) -> RequestPhase:
        """Waiting without a slot, else prefill until the first token."""
        if self.slot is None:
            return RequestPhase.WAITING
        return RequestPhase.DECODE if self.completion_tokens else RequestPhase.PREFILL

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Places in the prompt at which a state that cannot be cut is worth keeping, ascending."""
        places = {self.head_tokens, self.turn_tokens or self.prompt_tokens - 1}
        return tuple(sorted(place for place in places if 0 < place < self.prompt_tokens))

    @property
    def remaining(self) -> int:
        """Known tokens that are not in the KV cache yet; 1 for a sequence that decodes."""
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
