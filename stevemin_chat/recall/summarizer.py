"""The engine as the memory sees it: counts tokens and writes summaries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import TYPE_CHECKING

from engine.errors import EngineClosed, EngineCrashed, QueueFull
from engine.types import ChatMessage, GenerationRequest, Priority, SamplingParams
from memory import SummaryCancelled, Turn
from memory.summaries import prompt_for_summary

if TYPE_CHECKING:
    from engine import Engine
    from stevemin_chat.chats import TextSource

__all__ = ["EngineCounter", "EngineSummarizer"]

_POLL_S = 0.02  # how long a cancelled summary may continue
_REPETITION_PENALTY = 1.1  # a small model that decodes greedily loops without one


class EngineCounter:
    """Counts with the loaded model's tokenizer; the memory's `TokenCounter`. Blocking, thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def count_text(self, text: str) -> int:
        return self._engine.count_tokens(text)

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        return self._engine.count_prompt([ChatMessage(turn.role, turn.content) for turn in messages])


class EngineSummarizer:
    """Writes summaries when no answer is under way; the memory's `Summarizer`.

    Blocking; for any thread but the event loop's.

    Args:
        loop: where `source` lives.
    """

    def __init__(self, source: TextSource, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop

    def summarise(self, texts: Sequence[str], *, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        """The model's summary of the texts, unchecked.

        Raises:
            SummaryCancelled: `cancelled` said yes, or no engine has room for it; worth another try.
            EngineError: the model cannot summarise these texts.
        """
        if cancelled():
            raise SummaryCancelled
        coroutine = self._write(_request(texts, max_tokens))
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
        except (EngineClosed, QueueFull) as error:
            raise SummaryCancelled from error

    async def _write(self, request: GenerationRequest) -> str:
        stream = self._source.submit(request)
        try:
            return "".join([chunk.text async for chunk in stream])
        except asyncio.CancelledError:
            stream.cancel()
            raise


def _request(texts: Sequence[str], max_tokens: int) -> GenerationRequest:
    return GenerationRequest(
        messages=[ChatMessage("user", prompt_for_summary(texts))],
        sampling=SamplingParams(
            temperature=0.0, repetition_penalty=_REPETITION_PENALTY, max_tokens=max_tokens
        ),
        priority=Priority.BACKGROUND,
    )
