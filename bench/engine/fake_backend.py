"""A model that costs nothing: every step gives every sequence a word.

It stands in for llama.cpp, so that our own Python is all that is left to measure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep
from typing import Any

from engine import ChatMessage, ModelInfo, SamplingParams
from engine.step import Constraint, Copy, Restore, SpecialTokens, StepPlan, StepResult, Trim

__all__ = ["FakeBackend", "fake_info"]

_WORD = ord("w")


def fake_info(cells: int) -> ModelInfo:
    """A model with `cells` KV cells, whose tokens are characters."""
    return ModelInfo(
        name="fake",
        description="fake",
        path=Path("fake.gguf"),
        context_tokens=cells,
        kv_cells=cells,
        trained_context=cells,
        vocab_size=0x110000,
        size_bytes=1,
        parameters=1,
        kv_bytes_per_token=1,
        layer_count=1,
        offloaded_layers=0,
        template_name="gguf",
    )


class FakeBackend:
    """Implements `engine.step.Backend`; a token is a character.

    Args:
        cells: size of its KV cache.
        forward_s: seconds a forward pass takes; readers and other threads run meanwhile.
    """

    def __init__(self, cells: int, forward_s: float) -> None:
        self.info = fake_info(cells)
        self._forward_s = forward_s
        self._held: dict[int, int] = {}

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """One token per character."""
        return [ord(char) for char in text]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """A word, whatever the token."""
        return b" word"

    def is_eog(self, token: int) -> bool:
        """No token ends the turn."""
        return False

    def special_tokens(self) -> SpecialTokens:
        """There are none."""
        return SpecialTokens()

    def render(self, messages: Sequence[ChatMessage], **_: Any) -> str:
        """Join the messages."""
        return "\n".join(message.content for message in messages)

    def constrain(self, params: SamplingParams) -> Constraint | None:
        """Never constrain."""
        return None

    def prepare_sampler(self, params: SamplingParams) -> None:
        """Do nothing."""

    def open_sampler(
        self,
        request_id: int,
        params: SamplingParams,
        prompt: Sequence[int],
        constraint: Constraint | None = None,
    ) -> None:
        """Do nothing."""

    def change_sampler(self, request_id: int, params: SamplingParams, tokens: Sequence[int]) -> None:
        """Do nothing."""

    def close_sampler(self, request_id: int) -> None:
        """Do nothing."""

    def use_threads(self, threads: int, sampling_threads: int) -> None:
        """Do nothing."""

    def execute(self, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        """Track the cells, wait, and return one token for every row asked for."""
        for move in plan.moves:
            match move:
                case Trim(slot, keep):
                    self._held[slot] = keep
                case Copy(slot=slot, end=end):
                    self._held[slot] = end
                case Restore(slot=slot, tokens=tokens):
                    self._held[slot] = tokens
        for work in plan.work:
            self._held[work.slot] = work.start + len(work.tokens)
        sampled: dict[int, tuple[int, ...]] = {work.request_id: (_WORD,) for work in plan.work if work.rows}
        sleep(self._forward_s)
        return StepResult(sampled=sampled)

    def resident(self, slot: int) -> int:
        """The tokens of a slot."""
        return self._held.get(slot, 0)

    def close(self) -> None:
        """Do nothing."""
