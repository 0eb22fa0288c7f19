"""The engine as the memory and the chats want to see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import wait

from engine import ChatMessage, Engine, GenerationRequest, Priority, SamplingParams
from engine.errors import EngineClosed, EngineCrashed, QueueFull
from memory import SummaryCancelled, Turn
from memory.digest import prompt_for_summary
from stevemin_chat.errors import NoModelLoaded
from stevemin_chat.ports import TextSource, TextStream

__all__ = ["CurrentEngine", "EngineCounter", "EngineSummarizer"]

_POLL_S = 0.02  # how long a cancelled summary may go on
_REPETITION_PENALTY = 1.1  # a small model that is greedy goes round in circles without one


class EngineCounter:
    """Counts with the loaded model's tokenizer; the memory's `TokenCounter`. Blocking, thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def count_text(self, text: str) -> int:
        return self._engine.count_tokens(text)

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        return self._engine.count_prompt([ChatMessage(turn.role, turn.content) for turn in messages])


class EngineSummarizer:
    """Has summaries written when nobody waits for an answer; the memory's `Summarizer`.

    Blocking, for any thread but the event loop's.

    Args:
        loop: where `source` lives.
    """

    def __init__(self, source: TextSource, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop

    def summarise(self, texts: Sequence[str], *, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        """What the model makes of the texts, unchecked.

        Raises:
            SummaryCancelled: `cancelled` said yes, or there is no engine with room for it: worth another try.
            EngineError: the model cannot summarise these texts.
        """
        if cancelled():
            raise SummaryCancelled
        coroutine = self._write(_summary_request(texts, max_tokens))
        try:
            writing = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop is closed: the application has ended
            coroutine.close()
            raise SummaryCancelled from None
        while not wait((writing,), _POLL_S).done:
            if cancelled():
                writing.cancel()
                raise SummaryCancelled
        try:
            return writing.result()
        except EngineCrashed:  # perhaps because of these texts
            raise
        except (NoModelLoaded, EngineClosed, QueueFull) as error:
            raise SummaryCancelled from error

    async def _write(self, request: GenerationRequest) -> str:
        stream = self._source.submit(request)
        try:
            return "".join([chunk.text async for chunk in stream])
        except asyncio.CancelledError:
            stream.cancel()
            raise


class CurrentEngine:
    """The text port to whichever engine is loaded now; a chat survives a change of model by it.

    Attributes:
        on_submit: told of every request, before the engine is.
    """

    def __init__(self, current: Callable[[], Engine | None]) -> None:
        self._current = current
        self.on_submit: Callable[[], None] = lambda: None

    @property
    def load(self) -> float:
        """Requests in the engine for each one that it can serve at a time, 1 at most."""
        engine = self._current()
        if engine is None:
            return 0.0
        stats = engine.stats()
        return min(1.0, (stats.active + stats.waiting) / max(1, stats.max_sessions))

    def submit(self, request: GenerationRequest) -> TextStream:
        """Raises NoModelLoaded while there is no engine."""
        self.on_submit()
        engine = self._current()
        if engine is None:
            raise NoModelLoaded
        return engine.submit(request)


def _summary_request(texts: Sequence[str], max_tokens: int) -> GenerationRequest:
    return GenerationRequest(
        messages=[ChatMessage("user", prompt_for_summary(texts))],
        sampling=SamplingParams(
            temperature=0.0, repetition_penalty=_REPETITION_PENALTY, max_tokens=max_tokens
        ),
        priority=Priority.BACKGROUND,
    )
