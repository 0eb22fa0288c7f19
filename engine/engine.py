"""The engine's async door, and the one thread behind it that calls llama.cpp."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Event, Thread
from time import perf_counter
from types import MappingProxyType, TracebackType
from typing import Any, Self

from engine.config import EngineConfig
from engine.core import Cancel, EngineCore, Focus, Forget, Resume, Submit
from engine.errors import EngineClosed, EngineCrashed, EngineError, GenerationFailed, InvalidRequest
from engine.step import Backend, ModelInfo
from engine.stream import TokenStream
from engine.text import EncodedPrompt, PromptEncoder
from engine.types import (
    SEEDS,
    ChatMessage,
    EngineStats,
    FinishReason,
    GenerationRequest,
    Timings,
    resolve_seed,
)

__all__ = ["Engine", "EngineWorker"]

_log = logging.getLogger(__name__)

# After each call into llama.cpp the engine thread wants the GIL back; by default a busy screen may keep it
# 5 ms.
_SWITCH_S = 0.0005

Loader = Callable[[EngineConfig, Callable[[float], bool]], Backend]


def _load_llama(config: EngineConfig, on_progress: Callable[[float], bool]) -> Backend:
    from engine.llama import LlamaBackend  # loads llama.cpp's libraries: not before a model is wanted

    return LlamaBackend(config, on_progress)


class Engine:
    """Serves many requests at the same time from one model, in this process.

    Use it as an async context manager, or call `start` and `close`.

    Args:
        config: the model and its settings.
        load: makes the backend; tests pass a fake one.
    """

    def __init__(self, config: EngineConfig, *, load: Loader = _load_llama) -> None:
        self.config = config
        self._load = load
        self._worker: EngineWorker | None = None
        self._core: EngineCore | None = None
        self._backend: Backend | None = None
        self._prepare = ThreadPoolExecutor(
            1, thread_name_prefix="engine-prepare"
        )  # one thread keeps the order
        self._compile = ThreadPoolExecutor(1, thread_name_prefix="engine-compile")  # grammars take longer
        self._preparing: set[TokenStream] = set()  # submitted, but not yet handed to the core

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def info(self) -> ModelInfo:
        """The loaded model.

        Raises:
            EngineClosed: the engine is not started, or closed.
        """
        return self._running()[1].info

    async def start(self, on_progress: Callable[[float], None] | None = None) -> None:
        """Load the model.

        Args:
            on_progress: called on the event loop with the fraction loaded, 0 to 1.

        Cancelling the task stops the load.

        Raises:
            ModelError, LoadCancelled, ConfigError
        """
        loop = asyncio.get_running_loop()
        stop = Event()

        def report(fraction: float) -> bool:
            if on_progress is not None and not loop.is_closed():
                loop.call_soon_threadsafe(on_progress, fraction)
            return not stop.is_set()

        self._worker = EngineWorker(self.config, lambda: self._load(self.config, report))
        try:
            core, backend = await asyncio.wrap_future(self._worker.start())
        except asyncio.CancelledError:
            stop.set()
            await asyncio.to_thread(self._worker.stop)
            raise
        self._core, self._backend = core, backend

    def submit(self, request: GenerationRequest) -> TokenStream:
        """Queue a request; never blocks. Call it on the loop that reads the stream.

        If the request cannot be served, the stream's first read raises the error: `PromptTooLong`,
        `QueueFull`, `TemplateError`, `InvalidRequest`, `EngineClosed`.

        Raises:
            EngineClosed: no model is loaded.
            InvalidRequest: the request asks for several answers, which `candidates` gives.
        """
        self._running()
        if request.n > 1:
            raise InvalidRequest(f"One stream has one answer, not {request.n}: call candidates.")
        stream = TokenStream(asyncio.get_running_loop(), self.cancel, self._resume)
        self._preparing.add(stream)
        threads = self._compile if request.sampling.is_constrained else self._prepare
        threads.submit(self._encode, request, stream, perf_counter())
        return stream

    def candidates(self, request: GenerationRequest) -> list[TokenStream]:
        """Queue `request.n` answers to one prompt, which is computed only once.

        They differ in their seeds: the request's own (or a drawn one) and the following numbers. The first
        belongs to the request's session, the others to none.
        """
        first = resolve_seed(request.sampling)
        return [
            self.submit(
                replace(
                    request,
                    n=1,
                    sampling=replace(request.sampling, seed=(first + number) % SEEDS),
                    session_id=None if number else request.session_id,
                )
            )
            for number in range(request.n)
        ]

    def cancel(self, stream: TokenStream) -> None:
        """End a stream with `FinishReason.CANCELLED`, within one step; without one while it is prepared."""
        stream.cancel_requested = True
        if stream in self._preparing:
            stream.finish(FinishReason.CANCELLED, Timings())
            self._wake(stream)
        if self._core is not None:
            self._core.post(Cancel(stream))

    # The following are thread-safe, and too slow for an event loop. All raise EngineClosed.

    def tokenize(self, text: str, *, control: bool = False) -> list[int]:
        """Token ids of a text, without a begin token.

        Args:
            control: make control tokens of what spells them.
        """
        return self._running()[1].tokenize(text, parse_special=control)

    def detokenize(self, tokens: Sequence[int], *, control: bool = False) -> str:
        """The text of tokens.

        Args:
            control: spell control tokens out; else they have no text.

        Raises:
            InvalidRequest: a token is not in the vocabulary.
        """
        backend = self._running()[1]
        _check_tokens(tokens, backend.info.vocab_size)
        return b"".join(backend.piece(token, special=control) for token in tokens).decode(errors="replace")

    def render(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        template_args: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """The text of the prompt that these messages become, up to where the answer begins.

        Raises:
            TemplateError: the chat template refuses the messages.
        """
        return self._running()[0].encoder.render(messages, tools, template_args).data.decode()

    def count_tokens(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenize(text))

    def count_prompt(self, messages: Sequence[ChatMessage]) -> int:
        """Tokens of the prompt that these messages become, up to where the answer begins.

        Raises:
            TemplateError: the chat template refuses the messages.
        """
        return len(self._running()[0].encoder.encode(messages).tokens)

    def forget(self, session_id: str) -> None:
        """Drop a session's KV cache, and what its requests so far will leave."""
        if (core := self._core) is None:
            return
        preparing = bool(self._preparing)
        core.post(Forget(session_id))
        if preparing:  # their prompts reach the core only now: forget them as well
            with suppress(RuntimeError):  # closed meanwhile
                for threads in (self._prepare, self._compile):
                    threads.submit(core.post, Forget(session_id))

    def focus(self, session_id: str | None) -> None:
        """Serve the session a person is watching before all others from now on; None: no session."""
        if self._core is not None:
            self._core.post(Focus(session_id))

    def stats(self) -> EngineStats:
        """A frozen snapshot, free to poll."""
        return EngineStats() if self._core is None else self._core.stats()

    @property
    def load(self) -> float:
        """Requests in the engine divided by those that it can serve at a time; at most 1. Never blocks."""
        stats = self.stats()
        return min(1.0, (stats.active + stats.waiting) / max(1, stats.max_sessions))

    async def close(self) -> None:
        """Stop: open streams end with `EngineClosed`, the model is freed. A second call does nothing."""
        worker, self._worker = self._worker, None
        self._core = self._backend = None
        for threads in (self._prepare, self._compile):
            threads.shutdown(wait=False, cancel_futures=True)
        for stream in [*self._preparing]:
            self._refuse(stream, EngineClosed("The engine was closed before this prompt was read."))
        if worker is not None:
            await asyncio.to_thread(worker.stop)
        for threads in (self._prepare, self._compile):
            await asyncio.to_thread(threads.shutdown)

    def _resume(self, stream: TokenStream) -> None:
        if self._core is not None:
            self._core.post(Resume(stream))

    def _running(self) -> tuple[EngineCore, Backend]:
        if self._worker is not None and self._worker.crash is not None:
            raise self._worker.crash
        if self._core is None or self._backend is None:
            raise EngineClosed("The engine is not running: no model is loaded.")
        return self._core, self._backend

    def _encode(self, request: GenerationRequest, stream: TokenStream, submitted: float) -> None:
        try:
            core, backend = self._running()
            _check_tokens(request.sampling.logit_bias, backend.info.vocab_size)
            prompt = _encoded(core.encoder, request, backend.info.vocab_size)
            command = Submit(
                stream=stream,
                tokens=prompt.tokens,
                head_tokens=prompt.head_tokens,
                turn_tokens=prompt.turn_tokens,
                sampling=replace(request.sampling, stop=request.sampling.stop + backend.info.stop),
                session_id=request.session_id,
                priority=request.priority,
                constraint=backend.constrain(request.sampling),
                progress=request.progress,
                submitted=submitted,
            )
            core.post(command)
        except Exception as error:  # of any kind: a reader must not wait for ever
            if not isinstance(error, EngineError):
                _log.exception("a prompt could not be prepared")
                error = GenerationFailed(f"The prompt could not be prepared: {error}.")
            self._refuse(stream, error)
        finally:
            self._preparing.discard(stream)

    def _refuse(self, stream: TokenStream, error: BaseException) -> None:
        stream.fail(error)
        self._wake(stream)

    @staticmethod
    def _wake(stream: TokenStream) -> None:
        with suppress(RuntimeError):  # the reader's loop is closed: there is no reader
            stream.loop.call_soon_threadsafe(stream.wake)


def _encoded(encoder: PromptEncoder, request: GenerationRequest, vocabulary: int) -> EncodedPrompt:
    """The prompt of a request as tokens. Raises RequestError."""
    if request.tokens is not None:
        _check_tokens(request.tokens, vocabulary)  # llama.cpp would end the process
        return EncodedPrompt([*request.tokens])
    if request.text is not None:
        return encoder.encode_text(request.text)
    return encoder.encode(
        request.messages, request.session_id, tools=request.tools, arguments=request.template_args
    )


def _check_tokens(tokens: Iterable[int], vocabulary: int) -> None:
    for token in tokens:
        if not 0 <= token < vocabulary:
            raise InvalidRequest(f"There is no token {token}: this model has {vocabulary:,}, from 0 on.")


class EngineWorker:
    """Loads the backend, then steps the core until it is stopped.

    Args:
        config: settings.
        load: makes the backend; runs on this worker's thread.
    """

    def __init__(self, config: EngineConfig, load: Callable[[], Backend]) -> None:
        self._config = config
        self._load = load
        self._stopping = False
        self._ready: Future[tuple[EngineCore, Backend]] = Future()
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self.core: EngineCore | None = None
        self.crash: EngineCrashed | None = None

    def start(self) -> Future[tuple[EngineCore, Backend]]:
        """Start the thread; the future yields core and backend, or raises the error of the load."""
        self._ready.set_running_or_notify_cancel()  # a cancelled waiter must not cancel the load
        self._thread.start()
        return self._ready

    def stop(self) -> None:
        """End the thread after its current step; blocks until it has freed the model."""
        self._stopping = True
        if self.core is not None:
            self.core.post(None)
        self._thread.join()

    def _run(self) -> None:
        sys.setswitchinterval(_SWITCH_S)
        try:
            core, backend = self._open()
        except BaseException as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result((core, backend))
        try:
            self._loop(core)
            core.close()
        except BaseException as error:
            _log.exception("the engine thread died")
            self.crash = EngineCrashed(f"The engine stopped working: {error}. Load the model again.")
            self.crash.__cause__ = error
            core.fail_all(self.crash)
        finally:
            core.stop()
            backend.close()

    def _open(self) -> tuple[EngineCore, Backend]:
        backend = self._load()
        try:
            self.core = core = EngineCore(self._config, backend)
            core.start()
        except BaseException:
            backend.close()
            raise
        return core, backend

    def _loop(self, core: EngineCore) -> None:
        while not self._stopping:
            if not core.step() and not self._stopping:  # the step may have drained the wake-up from `stop`
                core.wait()
