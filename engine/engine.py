"""The engine's async door."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from threading import Condition, Event
from time import perf_counter
from types import MappingProxyType, TracebackType
from typing import Any, Self

from engine.config import EngineConfig
from engine.core import Adjust, Cancel, Change, Command, EngineCore, Focus, Forget, Resume, Submit
from engine.embedding import EmbeddingBackend, EmbeddingCall, EmbeddingCore, unit_length
from engine.errors import (
    ConfigError,
    EngineClosed,
    EngineError,
    GenerationFailed,
    InvalidRequest,
    shown,
)
from engine.step import Backend, ModelInfo
from engine.stream import TokenStream
from engine.text import EncodedPrompt, PromptEncoder
from engine.types import (
    SEEDS,
    ChatMessage,
    Embeddings,
    EngineStats,
    FinishReason,
    GenerationRequest,
    Priority,
    Reranking,
    SamplingParams,
    Timings,
    checked_priority,
    resolve_seed,
)
from engine.worker import AnyBackend, EngineWorker

__all__ = ["Engine"]

_log = logging.getLogger(__name__)

_NOT_RUNNING = "The engine is not running: no model is loaded."

Loader = Callable[[EngineConfig, Callable[[float], bool]], AnyBackend]


def _load_llama(config: EngineConfig, on_progress: Callable[[float], bool]) -> AnyBackend:
    # They load llama.cpp's libraries: not before a model is wanted.
    from engine.llama import LlamaBackend, LlamaEmbedder, pooling_of

    if (pooling := pooling_of(config.model_path)) is not None:
        return LlamaEmbedder(config, pooling, on_progress)
    return LlamaBackend(config, on_progress)


class Engine:
    """Serves many requests at the same time from one model, in this process.

    A model that writes text serves `submit`; one that pools serves `embed` or `rerank`. `info.kind` tells
    which; all else raises InvalidRequest.

    Use it as an async context manager, or call `start` and `close`.

    Args:
        config: the model and its settings.
        load: makes the backend; tests pass a fake one.

    Attributes:
        config: the settings in use.
        load_s: seconds that the last load or reload took; 0 before the first.
    """

    def __init__(self, config: EngineConfig, *, load: Loader = _load_llama) -> None:
        self.config = config
        self.load_s = 0.0
        self._closed = False
        self._loaded_as = config
        self._stop_load = Event()  # of the load under way
        self._gate = _Gate()
        self._changing = asyncio.Lock()
        self._load = load
        self._worker: EngineWorker | None = None
        self._core: EngineCore | None = None
        self._backend: Backend | None = None
        self._embedding: EmbeddingCore | None = None  # instead of the two for a model that pools
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
        return self._loaded().info

    async def start(self, on_progress: Callable[[float], None] | None = None) -> None:
        """Load the model.

        Args:
            on_progress: called on the event loop with the fraction loaded, 0 to 1.

        Cancelling the task stops the load.

        Raises:
            ModelError, LoadCancelled
            ConfigError: a setting does not suit the model, or the engine is started already.
            TemplateError: the configured chat template is not valid.
            EngineClosed: the engine was closed, before or meanwhile.
        """
        if self._closed:
            raise EngineClosed("This engine was closed: make another one.")
        if self._worker is not None:
            raise ConfigError("This engine is started already.")
        self._stop_load, started = Event(), perf_counter()
        load = self._loader(on_progress, self._stop_load)
        self._worker = worker = EngineWorker(self.config, load)
        try:
            opened = await asyncio.wrap_future(worker.start())
        except BaseException as error:
            if worker is self._worker:
                self._worker = None  # it may be started again
            if isinstance(error, asyncio.CancelledError):
                self._stop_load.set()
                await asyncio.to_thread(worker.stop)
            raise
        if worker is not self._worker:
            raise EngineClosed("The engine was closed while the model was loaded.")
        if isinstance(opened[0], EmbeddingCore):
            self._embedding = opened[0]
        else:
            self._core, self._backend = opened
        self._loaded_as = self.config
        self.load_s = perf_counter() - started

    def _loader(
        self, on_progress: Callable[[float], None] | None, stop: Event
    ) -> Callable[[EngineConfig], AnyBackend]:
        loop = asyncio.get_running_loop()

        def report(fraction: float) -> bool:
            if on_progress is not None and not loop.is_closed():
                loop.call_soon_threadsafe(on_progress, fraction)
            return not stop.is_set()

        return lambda config: self._load(config, report)

    async def change(self, config: EngineConfig, on_progress: Callable[[float], None] | None = None) -> None:
        """Use other settings from now on, with every chat kept.

        What a running engine can change takes effect with the next step. For anything else
        (`reload_for`) the model is loaded again, which takes about `load_s` seconds: requests wait
        meanwhile and then continue, and idle chats are parked where that is worth it.

        Args:
            on_progress: called on the event loop with the fraction loaded, 0 to 1, if the model is loaded.

        Raises:
            ConfigError: the settings name another model, which needs another engine.
            ModelError, TemplateError: the model cannot be loaded with these settings; the old ones are in
                use again.
            EngineCrashed: … and neither with those.
            InvalidRequest: the model embeds or reranks.
            EngineClosed

        Cancelling the task stops the load, and the old settings are in use again.
        """
        given: object = config
        if not isinstance(given, EngineConfig):
            raise ConfigError(f"The settings must be EngineConfig, not {shown(given)}.")
        async with self._changing:
            core, _ = self._running()
            if config.model_path != self.config.model_path:
                raise ConfigError(f"{config.model_path.name} is another model: start another engine for it.")
            if self.reload_for(config):
                await self._reload(config, on_progress)
            else:
                core.post(Change(config))
                self.config = config

    def reload_for(self, config: EngineConfig) -> tuple[str, ...]:
        """The names of the settings in `config` for which `change` would load the model again."""
        return self._loaded_as.reload_for(config)

    async def _reload(self, config: EngineConfig, on_progress: Callable[[float], None] | None) -> None:
        worker = self._worker
        assert worker is not None
        await self._close_gate()
        self._stop_load = stop = Event()
        done = worker.reload(config, self._loader(on_progress, stop))
        done.add_done_callback(partial(self._reloaded, worker, config, perf_counter()))
        loaded = asyncio.wrap_future(done)
        try:
            await asyncio.shield(loaded)
        except asyncio.CancelledError:
            stop.set()
            with suppress(EngineError):
                await loaded
            raise
        if worker is not self._worker:
            raise EngineClosed("The engine was closed while the model was loaded.")

    async def _close_gate(self) -> None:
        """Wait until no prompt is being read: that uses the backend."""
        closing = asyncio.ensure_future(asyncio.to_thread(self._gate.close))
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            self._gate.open()
            raise

    def _reloaded(
        self, worker: EngineWorker, config: EngineConfig, started: float, done: Future[None]
    ) -> None:
        """Engine thread: use what has been loaded, the new model or the old one again."""
        if worker is self._worker:
            backend = worker.backend
            self._backend = None if isinstance(backend, EmbeddingBackend) else backend
            if done.exception() is None:
                self.config = self._loaded_as = config
                self.load_s = perf_counter() - started
            else:
                self._post(Change(self.config))  # since they were loaded, some may have changed
        self._gate.open()

    def submit(self, request: GenerationRequest) -> TokenStream:
        """Queue a request; never blocks. Call it on the loop that reads the stream.

        If the request cannot be served, the stream's first read raises the error: `PromptTooLong`,
        `QueueFull`, `TemplateError`, `InvalidRequest`, `EngineClosed`.

        Raises:
            EngineClosed: no model is loaded.
            InvalidRequest: the request asks for several answers, which `candidates` gives.
        """
        self._loaded()
        _check_kind(request, GenerationRequest, "A request")
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
        _check_kind(request, GenerationRequest, "A request")
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
        """End a stream with `FinishReason.CANCELLED`, within one step; without one while it is prepared.

        Raises:
            InvalidRequest: this is no stream, or one of another engine.
        """
        self._check_own(stream)
        stream.cancel_requested = True
        if stream in self._preparing:
            stream.finish(FinishReason.CANCELLED, Timings())
            self._wake(stream)
        self._post(Cancel(stream))

    def pause(self, stream: TokenStream) -> None:
        """Compute nothing more for a request until `resume`; its place goes to another one that wants it.
        Raises as `cancel`."""
        self._check_own(stream)
        stream.held = True
        self._post(Adjust(stream))

    def resume(self, stream: TokenStream) -> None:
        """Continue a paused request. Raises as `cancel`."""
        self._check_own(stream)
        stream.held = False
        self._post(Adjust(stream))

    def promote(self, stream: TokenStream, priority: Priority = Priority.FOREGROUND) -> None:
        """Serve a request with another priority from now on.

        Raises:
            InvalidRequest: this is no priority, or no stream of this engine.
        """
        self._check_own(stream)
        stream.priority = checked_priority(priority)
        self._post(Adjust(stream))

    def change_sampling(self, stream: TokenStream, sampling: SamplingParams) -> None:
        """Choose the tokens of a request in another way from now on; its grammar or schema, its stop strings
        and its log-probabilities stay, and without a seed its seed.

        Raises:
            InvalidRequest: `logit_bias` has a token that the model has not, or as for `cancel`.
            EngineClosed
        """
        self._check_own(stream)
        _check_kind(sampling, SamplingParams, "sampling")
        _check_tokens(sampling.logit_bias, self._running()[1].info.vocab_size)
        with suppress(RuntimeError):  # closed meanwhile
            self._prepare.submit(self._change_sampling, stream, sampling)

    def _check_own(self, stream: TokenStream) -> None:
        _check_kind(stream, TokenStream, "stream")
        if not stream.is_cancelled_by(self.cancel):
            raise InvalidRequest("This stream belongs to another engine.")

    def _change_sampling(self, stream: TokenStream, sampling: SamplingParams) -> None:
        with suppress(EngineError), self._gate.passing():
            core, backend = self._running()
            backend.prepare_sampler(sampling)
            stream.ask_sampling(sampling)
            core.post(Adjust(stream))

    async def embed(
        self, texts: Sequence[str], *, normalize: bool = True, truncate: bool = False
    ) -> Embeddings:
        """Vectors of texts, as an embedding model gives them. Texts of all calls share forward passes.

        Cancelling the task ends the call after the current batch.

        Args:
            texts: none gives no vectors.
            normalize: make vectors of length 1, whose dot product is the cosine of their angle.
            truncate: cut a text that is too long at its end.

        Raises:
            InvalidRequest: a text is empty, or this is no embedding model.
            TextTooLong: a text has more tokens than `info.context_tokens`; nothing was computed.
            QueueFull, GenerationFailed, EngineClosed
        """
        core = self._pooling()
        call = await asyncio.to_thread(core.prepare_texts, texts, truncate=truncate)
        vectors = await self._pooled(core, call)
        if normalize:
            vectors = await asyncio.to_thread(lambda: [*map(unit_length, vectors)])
        return Embeddings(vectors, call.tokens)

    async def rerank(self, query: str, documents: Sequence[str], *, truncate: bool = False) -> Reranking:
        """How well documents match a query, as a rerank model scores them. As `embed` otherwise.

        Args:
            documents: none gives no scores.
            truncate: cut a document that is too long with the query at its end.

        Raises:
            InvalidRequest: the query or a document is empty, or this is no rerank model.
            TextTooLong: the query and a document have more tokens than `info.context_tokens`.
            QueueFull, GenerationFailed, EngineClosed
        """
        core = self._pooling()
        call = await asyncio.to_thread(core.prepare_pairs, query, documents, truncate=truncate)
        return Reranking([scores[0] for scores in await self._pooled(core, call)], call.tokens)

    @staticmethod
    async def _pooled(core: EmbeddingCore, call: EmbeddingCall) -> list[list[float]]:
        if not call.texts:
            return []
        core.post(call)
        return await asyncio.wrap_future(call.result)

    # The following are thread-safe, and too slow for an event loop. They raise EngineClosed, but for the last
    # four, which never block.

    def tokenize(self, text: str, *, control: bool = False) -> list[int]:
        """Token ids of a text, without a begin token.

        Args:
            control: make control tokens of what spells them.
        """
        _check_kind(text, str, "text")
        with self._gate.passing():
            return self._loaded().tokenize(text, parse_special=control)

    def detokenize(self, tokens: Sequence[int], *, control: bool = False) -> str:
        """The text of tokens.

        Args:
            control: spell control tokens out; else they have no text.

        Raises:
            InvalidRequest: a token is not in the vocabulary.
        """
        _check_kind(tokens, Sequence, "tokens")
        with self._gate.passing():
            backend = self._loaded()
            _check_tokens(tokens, backend.info.vocab_size)
            pieces = [backend.piece(token, special=control) for token in tokens]
        return b"".join(pieces).decode(errors="replace")

    def render(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        template_args: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """The text of the prompt that these messages become, up to where the answer begins.

        Raises:
            InvalidRequest: as `GenerationRequest` does.
            TemplateError: the chat template refuses the messages.
        """
        with self._gate.passing():
            encoder = self._running()[0].encoder
            asked = GenerationRequest(messages=messages, tools=tools, template_args=template_args)
            return encoder.render(asked.messages, asked.tools, asked.template_args).data.decode()

    def count_tokens(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenize(text))

    def count_prompt(
        self,
        messages: Sequence[ChatMessage],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        template_args: Mapping[str, Any] = MappingProxyType({}),
    ) -> int:
        """Tokens of the prompt that these messages become, up to where the answer begins.

        Raises:
            InvalidRequest: as `GenerationRequest` does.
            TemplateError: the chat template refuses the messages.
        """
        with self._gate.passing():
            core, backend = self._running()
            asked = GenerationRequest(messages=messages, tools=tools, template_args=template_args)
            return len(_encoded(core.encoder, asked, backend.info.vocab_size).tokens)

    def forget(self, session_id: str) -> None:
        """Drop a session's KV cache, and what its requests so far will leave.

        Raises:
            InvalidRequest: this is no session id.
        """
        _check_session(session_id)
        if (core := self._core) is None:
            return
        preparing = bool(self._preparing)
        core.post(Forget(session_id))
        if preparing:  # their prompts reach the core only now: forget them as well
            with suppress(RuntimeError):  # closed meanwhile
                for threads in (self._prepare, self._compile):
                    threads.submit(core.post, Forget(session_id))

    def focus(self, session_id: str | None) -> None:
        """Serve the session a person is watching before all others from now on; None: no session.

        Raises:
            InvalidRequest: this is no session id.
        """
        if session_id is not None:
            _check_session(session_id)
        self._post(Focus(session_id))

    def stats(self) -> EngineStats:
        """A frozen snapshot, free to poll."""
        core = self._core or self._embedding
        return EngineStats() if core is None else core.stats()

    @property
    def load(self) -> float:
        """Requests in the engine divided by those that it can serve at a time; at most 1. Never blocks."""
        stats = self.stats()
        return min(1.0, (stats.active + stats.waiting) / max(1, stats.max_sessions))

    async def close(self) -> None:
        """Stop: open streams end with `EngineClosed`, the model is freed. A second call does nothing."""
        self._closed = True
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.request_stop()
        self._stop_load.set()
        self._core = self._backend = self._embedding = None
        for threads in (self._prepare, self._compile):
            threads.shutdown(wait=False, cancel_futures=True)
        for stream in [*self._preparing]:
            self._refuse(stream, EngineClosed("The engine was closed before this prompt was read."))
        if worker is not None:
            await asyncio.to_thread(worker.stop)
        for threads in (self._prepare, self._compile):
            await asyncio.to_thread(threads.shutdown)

    def _resume(self, stream: TokenStream) -> None:
        self._post(Resume(stream))

    def _post(self, command: Command) -> None:
        if self._core is not None:
            self._core.post(command)

    def _loaded(self) -> AnyBackend:
        """The model, of any kind."""
        if self._worker is not None and self._worker.crash is not None:
            raise self._worker.crash
        embedding = self._embedding  # another thread may close the engine meanwhile
        backend = self._backend if embedding is None else embedding.backend
        if backend is None:
            raise EngineClosed(_NOT_RUNNING)
        return backend

    def _running(self) -> tuple[EngineCore, Backend]:
        """Core and backend of a model that writes text."""
        info, core, backend = self._loaded().info, self._core, self._backend
        if info.kind != "text":
            raise InvalidRequest(f"{info.name} is {info.kind_of_model}: it cannot write text.")
        if core is None or backend is None:
            raise EngineClosed(_NOT_RUNNING)
        return core, backend

    def _pooling(self) -> EmbeddingCore:
        """The core of a model that embeds or reranks."""
        info, core = self._loaded().info, self._embedding
        if info.kind == "text":
            raise InvalidRequest(f"{info.name} writes text: it cannot embed or rerank.")
        if core is None:
            raise EngineClosed(_NOT_RUNNING)
        return core

    def _encode(self, request: GenerationRequest, stream: TokenStream, submitted: float) -> None:
        try:
            with self._gate.passing():
                core, backend = self._running()
                core.post(_submission(core.encoder, backend, request, stream, submitted))
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


def _submission(
    encoder: PromptEncoder,
    backend: Backend,
    request: GenerationRequest,
    stream: TokenStream,
    submitted: float,
) -> Submit:
    """What the core needs to know of a request. Raises RequestError."""
    _check_tokens(request.sampling.logit_bias, backend.info.vocab_size)
    prompt = _encoded(encoder, request, backend.info.vocab_size)
    backend.prepare_sampler(request.sampling)
    return Submit(
        stream=stream,
        tokens=prompt.tokens,
        head_tokens=prompt.head_tokens,
        turn_tokens=prompt.turn_tokens,
        sampling=replace(request.sampling, stop=request.sampling.stop + backend.info.stop),
        session_id=request.session_id,
        priority=request.priority,
        constraint=backend.constrain(request.sampling),
        progress=request.progress,
        parser=encoder.reply_parser(prompt, request.tools) if request.parse_reply else None,
        submitted=submitted,
    )


def _encoded(encoder: PromptEncoder, request: GenerationRequest, vocabulary: int) -> EncodedPrompt:
    """The prompt of a request as tokens. Raises RequestError."""
    if request.tokens is not None:
        _check_tokens(request.tokens, vocabulary)  # llama.cpp would end the process
        return encoder.encode_tokens(request.tokens)
    if request.text is not None:
        return encoder.encode_text(request.text)
    return encoder.encode(
        request.messages, request.session_id, tools=request.tools, arguments=request.template_args
    )


def _check_session(session_id: object) -> None:
    if not isinstance(session_id, str):  # the engine thread would end at one that has no hash
        raise InvalidRequest(f"A session's id must be a text, not {shown(session_id)}.")


def _check_kind(value: object, kind: type, name: str) -> None:
    """Whatever the types say: others than type checkers call, too."""
    if not isinstance(value, kind):
        raise InvalidRequest(f"{name} must be {kind.__name__}, not {shown(value)}.")


def _check_tokens(tokens: Iterable[int], vocabulary: int) -> None:
    for token in tokens:
        if type(token) is not int or not 0 <= token < vocabulary:  # whatever the types say
            raise InvalidRequest(
                f"There is no token {shown(token)}: this model has {vocabulary:,}, from 0 on."
            )


class _Gate:
    """Lets many threads use the backend at a time, or one replace it."""

    def __init__(self) -> None:
        self._moved = Condition()
        self._inside = 0
        self._closed = False

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Use the backend; waits while the gate is closed."""
        with self._moved:
            self._moved.wait_for(lambda: not self._closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._moved:
                self._inside -= 1
                self._moved.notify_all()

    def close(self) -> None:
        """Let nobody in, and wait until everybody has left."""
        with self._moved:
            self._closed = True
            self._moved.wait_for(lambda: not self._inside)

    def open(self) -> None:
        """Let everybody in again."""
        with self._moved:
            self._closed = False
            self._moved.notify_all()
