"""Carries text from the engine thread to the readers' event loops.

The engine thread writes into each stream's buffer and wakes each loop once per step, however many streams it
feeds there. A reader that lags gets several tokens merged into one chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import NoReturn

from engine.types import (
    FinishReason,
    Priority,
    ReplyPart,
    SamplingParams,
    Timings,
    TokenChunk,
    TokenLogprob,
    ToolCall,
)

__all__ = ["Mailroom", "TokenStream"]

# Waking a reader takes a core from the model: while the event loop works, a forward pass waits for that
# core at its next barrier. A small model writes a token in 7 ms, a GPU in less; thirty updates a second
# look continuous.
_ROUND_S = 0.03

_MAX_UNREAD = 1024  # tokens; a reader that lags further behind pauses its request until it has caught up

_Letters = dict[asyncio.AbstractEventLoop, set["TokenStream"]]


class TokenStream:
    """The answer to one request: an async iterator of `TokenChunk`.

    It ends exactly once: normally, with `finish_reason` and `timings` set, or by raising an
    `EngineError`. Leaving the loop early does not end the request; `cancel` does. While a reader lags,
    tokens are merged into one chunk; when 1,024 are unread the request pauses until they are read.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_cancel: Callable[[TokenStream], None],
        on_resume: Callable[[TokenStream], None] = lambda stream: None,
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self.timings = Timings()
        self.seed: int | None = None
        self._loop = loop
        self._on_cancel = on_cancel
        self._on_resume = on_resume
        self._ready = asyncio.Event()
        self._lock = Lock()
        self._parts: list[_Unread] = []
        self._calls: list[ToolCall] = []  # of what was read
        self._progress: tuple[int, int] | None = None
        self._unread = 0
        self._lagging = False
        self._outcome: tuple[FinishReason, Timings] | BaseException | None = None
        self._ended = False
        self.cancel_requested = False
        self.held = False
        self.priority: Priority | None = None  # asked for after submitting
        self._sampling: SamplingParams | None = None  # … as this was

    def cancel(self) -> None:
        """Ask the engine to stop; the stream then ends with `FinishReason.CANCELLED`."""
        self.cancel_requested = True
        self._on_cancel(self)

    def is_cancelled_by(self, on_cancel: Callable[[TokenStream], None]) -> bool:
        """Whether this is what `cancel` calls: an engine knows its own streams by it."""
        return self._on_cancel == on_cancel

    def __aiter__(self) -> TokenStream:
        return self

    async def __anext__(self) -> TokenChunk:
        while True:
            with self._lock:
                outcome = self._outcome
                # Tokens without text, such as the end of the turn, come with the text after them, or last.
                told = bool(self._parts) and (outcome is not None or not self._parts[0].silent)
                chunk = self._parts.pop(0).chunk() if told else None
                if chunk is None and self._progress is not None and outcome is None:
                    chunk, self._progress = TokenChunk("", 0, progress=self._progress), None
                lagged = False
                if not self._parts or self._parts[0].silent:
                    lagged, self._lagging, self._unread = self._lagging, False, 0
                self._ready.clear()
            if lagged:
                self._on_resume(self)
            if chunk is not None:
                self._collect(chunk)
                return chunk
            if outcome is not None:
                self._end(outcome)
            await self._ready.wait()

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls in what has been read; the last one may be growing."""
        return tuple(self._calls)

    def _collect(self, chunk: TokenChunk) -> None:
        if chunk.call is None:
            return
        if chunk.call == len(self._calls):
            self._calls.append(ToolCall(chunk.name, ""))
        call = self._calls[chunk.call]
        self._calls[chunk.call] = ToolCall(
            call.name, call.arguments + chunk.text, chunk.call_id or call.call_id
        )

    def _end(self, outcome: tuple[FinishReason, Timings] | BaseException) -> NoReturn:
        if self._ended:
            raise StopAsyncIteration
        self._ended = True
        if isinstance(outcome, BaseException):
            raise outcome
        self.finish_reason, self.timings = outcome
        raise StopAsyncIteration

    # The rest is called by the engine.

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the reader."""
        return self._loop

    @property
    def lagging(self) -> bool:
        """Whether so much is unread that the request should pause; reading it calls `on_resume`."""
        return self._lagging

    def ask_sampling(self, sampling: SamplingParams) -> None:
        """Ask for other sampling from now on."""
        with self._lock:
            self._sampling = sampling

    def take_sampling(self) -> SamplingParams | None:
        """What was asked for since the last call."""
        with self._lock:
            sampling, self._sampling = self._sampling, None
        return sampling

    def put(self, part: ReplyPart, token: int | None = None, logprob: TokenLogprob | None = None) -> None:
        """Add a token and its text, or text that was held back; the reader sees it after `wake`."""
        with self._lock:
            if not self._parts or not self._parts[-1].takes(part):
                self._parts.append(_Unread())
            self._parts[-1].add(part, token, logprob)
            if token is not None:
                self._unread += 1
                self._lagging = self._unread >= _MAX_UNREAD

    def tell_progress(self, done: int, total: int) -> None:
        """Tell how many tokens of the prompt are computed; a reader that lags gets the newest."""
        with self._lock:
            self._progress = done, total

    def finish(self, reason: FinishReason, timings: Timings) -> None:
        """End the stream; only the first end counts."""
        self._settle((reason, timings))

    def fail(self, error: BaseException) -> None:
        """End the stream with an error; only the first end counts."""
        self._settle(error)

    def wake(self) -> None:
        """Let the reader check for news; call it on its loop only."""
        self._ready.set()

    def _settle(self, outcome: tuple[FinishReason, Timings] | BaseException) -> None:
        with self._lock:
            if self._outcome is None:
                self._outcome = outcome


class _Unread:
    """Text that the reader has not taken yet, all of one part of the reply, and its tokens."""

    __slots__ = ("_logprobs", "_part", "_text", "_tokens")

    def __init__(self) -> None:
        self._part: ReplyPart | None = None  # the first that said something
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._logprobs: list[TokenLogprob] = []

    @property
    def silent(self) -> bool:
        """Whether there are only tokens so far."""
        return self._part is None

    def takes(self, part: ReplyPart) -> bool:
        """Whether this belongs to the same part."""
        mine = self._part
        if mine is None or not _says(part):
            return True
        return part.channel is mine.channel and part.call == mine.call and not (part.name or part.call_id)

    def add(self, part: ReplyPart, token: int | None, logprob: TokenLogprob | None) -> None:
        """Add text and a token."""
        if self._part is None and _says(part):
            self._part = part
        self._text.append(part.text)
        if token is not None:
            self._tokens.append(token)
        if logprob is not None:
            self._logprobs.append(logprob)

    def chunk(self) -> TokenChunk:
        """All of it."""
        part = self._part or ReplyPart("")
        return TokenChunk(
            "".join(self._text),
            len(self._tokens),
            tuple(self._tokens),
            tuple(self._logprobs),
            channel=part.channel,
            call=part.call,
            name=part.name,
            call_id=part.call_id,
        )


def _says(part: ReplyPart) -> bool:
    return bool(part.text or part.name or part.call_id)


class Mailroom:
    """Collects the streams with news and wakes their loops, one call per loop and round.

    Waking a loop is a system call in which the caller loses the GIL to the very thread it wakes. So once
    started, the mailroom's own thread does it in rounds, and the engine thread only wakes that thread when
    it sleeps.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._pending: _Letters = {}
        self._news = Event()
        self._urgent = Event()
        self._stopping = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Deliver from a thread from now on."""
        self._thread = Thread(target=self._deliver_all, name="engine-mail", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Deliver the rest and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._news.set()
            self._urgent.set()
            thread.join()
        self.flush()

    def add(self, stream: TokenStream, *, urgent: bool = False) -> None:
        """Record that a stream has news.

        Args:
            urgent: tell its reader at once, as about a first text or the end, for which somebody waits.
        """
        with self._lock:
            self._pending.setdefault(stream.loop, set()).add(stream)
        if urgent:
            self._urgent.set()

    def flush(self) -> None:
        """Wake every reader that has news, within a round."""
        if not self._pending:
            return
        if self._thread is None:
            _deliver(self._take())
        elif not self._news.is_set():
            self._news.set()

    def _take(self) -> _Letters:
        with self._lock:
            letters, self._pending = self._pending, {}
            self._urgent.clear()
        return letters

    def _deliver_all(self) -> None:
        while not self._stopping:
            self._news.wait()
            while letters := self._take():
                _deliver(letters)
                if not self._stopping:
                    self._urgent.wait(_ROUND_S)  # news that arrives meanwhile is delivered together
            self._news.clear()
            if self._pending:  # added between the last check and the clear
                self._news.set()


def _deliver(letters: _Letters) -> None:
    for loop, streams in letters.items():
        try:
            loop.call_soon_threadsafe(_wake_all, streams)
        except RuntimeError:  # the reader's loop is closed: there is no reader
            continue


def _wake_all(streams: set[TokenStream]) -> None:
    for stream in streams:
        stream.wake()
