"""What a turn of a long chat costs, and who answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine import ChatMessage, Engine, GenerationRequest, SamplingParams, Timings, TokenStream
from memory import Turn

__all__ = ["Asker", "Evidence", "Turned", "system_prompt"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where the turns that answer a question are, as shares of them all.

    Args:
        verbatim: in the prompt as messages; quoted: as memories.
        summarised: neither, but among the sources of a summary in the prompt.
    """

    verbatim: float
    quoted: float = 0.0
    summarised: float = 0.0


@dataclass(frozen=True, slots=True)
class Turned:
    """What one turn cost.

    Args:
        memories: tokens of this layer.
        build_s: to assemble the prompt.
        background: tokens that summaries computed after the turn, prompts and answers.
        evidence: None when nothing was asked.
    """

    timings: Timings
    memories: int = 0
    build_s: float = 0.0
    background: int = 0
    evidence: Evidence | None = None

    @property
    def prefilled(self) -> int:
        """Prompt tokens that were not in the KV cache."""
        return self.timings.prompt_tokens - self.timings.cached_tokens


class Asker:
    """Has an engine answer, and keeps account of what summaries take.

    Args:
        reply_tokens: every answer is exactly as long.
    """

    def __init__(self, engine: Engine, reply_tokens: int) -> None:
        self.engine = engine
        self._sampling = SamplingParams(temperature=0.0, max_tokens=reply_tokens, ignore_eos=True)
        self._summaries: list[TokenStream] = []

    @property
    def load(self) -> float:
        """Nobody else asks."""
        return 0.0

    async def ask(self, messages: Sequence[Turn], session: str) -> tuple[str, Timings]:
        """The answer to a prompt."""
        turns = [ChatMessage(turn.role, turn.content) for turn in messages]
        request = GenerationRequest(messages=turns, sampling=self._sampling, session_id=session)
        stream = self.engine.submit(request)
        text = "".join([chunk.text async for chunk in stream])
        return text, stream.timings

    def submit(self, request: GenerationRequest) -> TokenStream:
        """As a summariser wants it."""
        self._summaries.append(stream := self.engine.submit(request))
        return stream

    def spent(self) -> int:
        """Tokens that summaries computed since the last call."""
        timings = [stream.timings for stream in self._summaries]
        self._summaries.clear()
        return sum(item.prompt_tokens - item.cached_tokens + item.completion_tokens for item in timings)


def system_prompt(side: str) -> str:
    """Another first word for each side, since the engine shares what two sessions begin with."""
    return f"{side.capitalize()}: you are a helpful assistant."
