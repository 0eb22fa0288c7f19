"""A text source without a model: says what it is told to, when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from word_counter import WordCounter

from engine.types import FinishReason, GenerationRequest, Timings, TokenChunk

__all__ = ["FakeSource", "FakeStream", "counter"]


def counter() -> WordCounter:
    """One token a word and one a turn: budgets are easy to add up."""
    return WordCounter(marks=1, opening=0)


class FakeStream:
    """Delivers pieces, then ends like a real stream: once, with a reason or an error."""

    def __init__(
        self,
        pieces: Sequence[str],
        *,
        pause_s: float = 0.0,
        ending: FinishReason | Exception = FinishReason.STOP,
        before: Callable[[int], None] | None = None,
        stuck: bool = False,
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self.timings = Timings()
        self.cancelled = asyncio.Event()
        self._pieces = pieces
        self._pause_s = pause_s
        self._ending = ending
        self._before = before
        self._stuck = stuck

    def cancel(self) -> None:
        self.cancelled.set()

    async def __aiter__(self) -> AsyncIterator[TokenChunk]:
        for number, piece in enumerate(self._pieces):
            if await self._is_cancelled(self._pause_s):
                return
            if self._before is not None:
                self._before(number)
            yield TokenChunk(piece)
        if self._stuck and await self._is_cancelled(30):
            return
        if isinstance(self._ending, Exception):
            raise self._ending
        self._end(self._ending)

    async def _is_cancelled(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self.cancelled.wait()
        except TimeoutError:
            return False
        self._end(FinishReason.CANCELLED)
        return True

    def _end(self, reason: FinishReason) -> None:
        self.finish_reason = reason
        self.timings = Timings(prompt_tokens=9, completion_tokens=len(self._pieces), ttft_s=0.5)


class FakeSource:
    """Hands out the streams it was given, one a request, and remembers the requests."""

    load = 0.0

    def __init__(self, *streams: FakeStream | Exception) -> None:
        self.requests: list[GenerationRequest] = []
        self._streams = list(streams)

    def submit(self, request: GenerationRequest) -> FakeStream:
        self.requests.append(request)
        stream = self._streams.pop(0)
        if isinstance(stream, Exception):
            raise stream
        return stream
