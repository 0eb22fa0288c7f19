"""What every request must get: an independent record of prompts, answers and ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from engine_tests.fuzz.model import Answer, FuzzBackend, expect

from engine import (
    ChatMessage,
    EngineClosed,
    EngineError,
    FinishReason,
    GenerationFailed,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
    TemplateError,
    TokenChunk,
    TokenStream,
)
from engine.types import EngineStats, SamplingParams

__all__ = ["Ledger", "Request", "prompt_of"]


def prompt_of(messages: Sequence[ChatMessage]) -> list[int]:
    """The tokens of a chat: each message ends with an end-of-turn token."""
    return [*map(ord, "".join(message.content + "\0" for message in messages))]


@dataclass(eq=False)
class Request:
    """One request, what it must get, and what it has got.

    Args:
        crowd: requests in the engine when it was submitted.
        room: cells one sequence may hold.
        slow: its reader reads only when told to.
        life: the engine, of several one after another, that it was sent to.
        refused: whether the chat template refuses it, so that the engine's core never sees it.
    """

    stream: TokenStream
    prompt: list[int]
    messages: list[ChatMessage]
    session: str | None
    sampling: SamplingParams
    crowd: int
    room: int
    slow: bool
    life: int
    refused: bool
    expected: Answer | None = field(init=False)
    text: str = ""
    tokens: tuple[int, ...] = ()
    end: FinishReason | BaseException | None = None
    cancelled: bool = False

    def __post_init__(self) -> None:
        fits = self.prompt and len(self.prompt) < self.room
        self.expected = expect(self.prompt, self.sampling, self.room) if fits else None

    @property
    def seed(self) -> int:
        """Its seed, which no other request has."""
        assert self.sampling.seed is not None
        return self.sampling.seed

    def read(self) -> bool:
        """Take what is there, without waiting; False when there is nothing."""
        if self.end is not None:
            return False
        step = self._next()
        try:
            step.send(None)
        except StopIteration:
            return True
        step.close()
        return False

    async def follow(self) -> None:
        """Read to the end."""
        while self.end is None:
            await self._next()
        with pytest.raises(StopAsyncIteration):  # it has ended once, and stays so
            await anext(self.stream)

    async def _next(self) -> None:
        try:
            chunk = await anext(self.stream)
        except StopAsyncIteration:
            self.end = self.stream.finish_reason
            assert self.end is not None
        except EngineError as error:
            self.end = error
        else:
            self._take(chunk)

    def _take(self, chunk: TokenChunk) -> None:
        self.text += chunk.text
        self.tokens += chunk.ids
        assert self.expected is not None
        assert self.expected.raw.startswith(self.text)
        assert self.expected.tokens[: len(self.tokens)] == self.tokens
        assert len(chunk.ids) == chunk.tokens
        if chunk.progress is not None:
            done, total = chunk.progress
            assert 0 <= done < total == len(self.prompt)

    def read_all(self) -> None:
        """Take all there is."""
        while self.read():
            pass


class Ledger:
    """All requests of a program, over the lives of several engines.

    Args:
        most: requests that an engine takes at a time, waiting or running.
        places: requests that it runs at a time.
    """

    def __init__(self, most: int, places: int) -> None:
        self.requests: list[Request] = []
        self.most, self.places = most, places
        self.life = 0
        self.death: type[EngineClosed] | None = None  # how the engine ended, when it has

    @property
    def live(self) -> list[Request]:
        """Requests of this life without an end, as far as their readers know."""
        return [each for each in self.requests if each.life == self.life and each.end is None]

    def begin(self) -> None:
        """A new engine was started."""
        self.life += 1
        self.death = None

    def add(self, request: Request) -> None:
        """Record a request that was submitted."""
        self.requests.append(request)

    def check_ends(self, backend: FuzzBackend) -> None:
        """Everybody in this life must have got the right end."""
        for request in self.requests:
            if request.life == self.life:
                self._check_end(request, backend)

    def _check_end(self, request: Request, backend: FuzzBackend) -> None:
        end, expected, licences = request.end, request.expected, backend.licences
        assert end is not None, "a stream did not end"
        if isinstance(end, FinishReason):
            self._check_finish(request, end, backend)
        elif isinstance(end, EngineClosed):
            assert self.death is not None
            assert issubclass(self.death, type(end))  # a prompt still in preparation may miss the crash
        elif isinstance(end, TemplateError):
            assert request.refused
        elif isinstance(end, PromptTooLong):
            assert expected is None
            assert (end.needed, end.available) == (len(request.prompt) + 1, request.room)
        elif isinstance(end, QueueFull):
            assert request.crowd >= self.most
        elif isinstance(end, InvalidRequest):
            assert not request.prompt
        else:
            assert isinstance(end, GenerationFailed)
            assert request.seed in licences.fail

    def _check_finish(self, request: Request, end: FinishReason, backend: FuzzBackend) -> None:
        expected, timings = request.expected, request.stream.timings
        if timings.prompt_tokens or end is not FinishReason.CANCELLED:  # else cancelled while it was prepared
            assert timings.prompt_tokens == len(request.prompt)
            assert timings.completion_tokens == len(request.tokens)
            assert 0 <= timings.cached_tokens < max(1, len(request.prompt))
        if end is FinishReason.CANCELLED:
            assert request.cancelled
        elif request.refused:
            raise AssertionError("its prompt was refused")
        elif expected is not None and end is expected.reason and request.tokens == expected.tokens:
            assert request.text == expected.text
        else:
            assert end is FinishReason.CONTEXT
            assert request.seed in backend.licences.context

    def check_snapshot(self, stats: EngineStats) -> None:
        """What must hold of an engine's numbers at any moment."""
        assert stats.active <= self.places
        assert len(stats.requests) == stats.active + stats.waiting >= stats.paused
        assert stats.kv_cells_used <= stats.kv_cells_total
        assert stats.accepted_tokens <= stats.drafted_tokens
        assert stats.cached_tokens <= stats.prompt_tokens

    def check_stats(self, stats: EngineStats) -> None:
        """The counts of an engine that is idle and was never closed."""
        ends = Counter(
            each.end if isinstance(each.end, FinishReason) else None
            for each in self.requests
            if each.life == self.life and not each.refused
        )
        cancelled, failed = ends[FinishReason.CANCELLED], ends[None]
        assert stats.requests_cancelled == cancelled
        assert stats.requests_failed == failed
        assert stats.requests_done == ends.total() - cancelled - failed
        self.check_snapshot(stats)
        assert (stats.active, stats.waiting, stats.paused, stats.requests) == (0, 0, 0, ())

    def leave(self, error: type[EngineClosed], backend: FuzzBackend) -> None:
        """The engine has ended: all its streams must have, too, and say so."""
        self.death = error
        for request in self.live:
            request.read_all()
        self.check_ends(backend)
