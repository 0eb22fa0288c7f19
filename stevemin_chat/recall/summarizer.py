"""The engine as the memory sees it: counts tokens, writes summaries and looks for facts."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.errors import EngineClosed, EngineCrashed, QueueFull
from engine.types import ChatMessage, GenerationRequest, Priority, SamplingParams
from memory import ExtractionCancelled, SummaryCancelled, Turn
from memory.summaries import prompt_for_summary

if TYPE_CHECKING:
    from pathlib import Path

    from engine import Engine
    from stevemin_chat.chats import TextSource

__all__ = ["EngineCounter", "EngineExtractor", "EngineSummarizer"]

_POLL_S = 0.02  # how long a cancelled request may continue
_PARTS = 17  # of a file that its fingerprint reads
_PART_BYTES = 1 << 16
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
        request = _request(
            prompt_for_summary(texts), max_tokens=max_tokens, repetition_penalty=_REPETITION_PENALTY
        )
        answer = _answer(self._source, self._loop, request, cancelled)
        if answer is None:
            raise SummaryCancelled
        return answer


class EngineExtractor:
    """Looks for facts when no answer is under way; the memory's `FactExtractor`.

    Blocking; for any thread but the event loop's.

    Args:
        loop: where `source` lives.
        path: the model's file.
    """

    def __init__(self, source: TextSource, loop: asyncio.AbstractEventLoop, path: Path) -> None:
        self._source = source
        self._loop = loop
        self._path = path

    @cached_property
    def model(self) -> str:
        """A hash of the size and of some parts of the file; empty if it cannot be read."""
        try:
            return _fingerprint(self._path)
        except OSError:  # deleted since it was loaded
            return ""

    def extract(self, prompt: str, *, grammar: str, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        """The model's answer.

        Raises:
            ExtractionCancelled: `cancelled` said yes, or no engine has room for it; worth another try.
            EngineError: the model cannot answer this prompt.
        """
        request = _request(prompt, max_tokens=max_tokens, grammar=grammar)
        answer = _answer(self._source, self._loop, request, cancelled)
        if answer is None:
            raise ExtractionCancelled
        return answer


def _request(prompt: str, **sampling: Any) -> GenerationRequest:
    return GenerationRequest(
        messages=[ChatMessage("user", prompt)],
        sampling=SamplingParams(temperature=0.0, **sampling),
        priority=Priority.BACKGROUND,
    )


def _answer(
    source: TextSource,
    loop: asyncio.AbstractEventLoop,
    request: GenerationRequest,
    cancelled: Callable[[], bool],
) -> str | None:
    """The whole answer to a request; None if it was cancelled or there is no engine for it now."""
    if cancelled():
        return None
    coroutine = _written(source, request)
    try:
        writing = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:  # the loop is closed: the application has ended
        coroutine.close()
        return None
    while not wait((writing,), _POLL_S).done:
        if cancelled():
            writing.cancel()
            return None
    try:
        return writing.result()
    except EngineCrashed:  # perhaps because of these texts
        raise
    except (EngineClosed, QueueFull):
        return None


async def _written(source: TextSource, request: GenerationRequest) -> str:
    stream = source.submit(request)
    try:
        return "".join([chunk.text async for chunk in stream])
    except asyncio.CancelledError:
        stream.cancel()
        raise


def _fingerprint(path: Path) -> str:
    """Tells a model's weights from those of another, fine-tuned ones included, without reading all."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest.update(size.to_bytes(8, "big"))
        for part in range(_PARTS):
            file.seek(max(0, size - _PART_BYTES) * part // (_PARTS - 1))
            digest.update(file.read(_PART_BYTES))
    return digest.hexdigest()[:32]
