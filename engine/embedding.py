"""Embeds and reranks: the core of an engine whose model pools a text into one vector instead of writing text.

As `core`, without a loop and without a thread: one step computes one batch of texts. A text leaves nothing in
the engine, so there is no scheduler and no cache; calls take turns, text by text.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Protocol, runtime_checkable

from engine.config import EngineConfig
from engine.errors import EngineClosed, GenerationFailed, InvalidRequest, QueueFull
from engine.metrics import Metrics
from engine.step import ModelInfo, SpecialTokens, StepPlan, StepResult, Work
from engine.text import InputEncoder, InputFormat
from engine.types import EngineStats, FinishReason

__all__ = ["EmbeddingBackend", "EmbeddingCall", "EmbeddingCore", "unit_length"]

Vector = list[float]


@runtime_checkable
class EmbeddingBackend(Protocol):
    """A loaded embedding or rerank model. `tokenize`, `piece` and `special_tokens` are thread-safe;
    everything else belongs to the engine thread.

    Attributes:
        input_format: what the model expects around a text.
        batch_tokens, batch_texts: how much one forward pass should take. One text may be longer.
    """

    input_format: InputFormat
    batch_tokens: int
    batch_texts: int

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Text to token ids; `parse_special` recognises control tokens spelled out in the text."""

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """A token's bytes; control tokens are empty unless `special`."""

    def special_tokens(self) -> SpecialTokens:
        """How the special tokens of the vocabulary are spelled; slow the first time."""
        ...

    def pool(self, work: Sequence[Work]) -> list[Vector]:
        """Compute whole texts in one forward pass: a vector for each, or its scores, as the model gives them.

        Raises:
            GenerationFailed: llama.cpp could not compute them; others can be computed.
        """

    def close(self) -> None:
        """Free context and model, in this order."""


@dataclass(slots=True, eq=False)
class EmbeddingCall:
    """The texts of one call.

    Args:
        texts: the tokens of each, at least one text.
        result: gets a vector for each text, in their order; cancelling it cancels the call.
        vectors: those computed so far, by the place of their text.
        started: how many texts have been taken into a batch.
    """

    texts: list[list[int]]
    result: Future[list[Vector]] = field(default_factory=Future)
    vectors: dict[int, Vector] = field(default_factory=dict)
    started: int = 0

    @property
    def tokens(self) -> list[int]:
        """Tokens of each text."""
        return [len(text) for text in self.texts]


Item = tuple[EmbeddingCall, int]  # a text by its place in its call


class EmbeddingCore:
    """Owns the open calls; one thread makes every call except `prepare_*`, `post` and `stats`."""

    def __init__(
        self, config: EngineConfig, backend: EmbeddingBackend, *, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.backend = backend
        self.metrics = Metrics()
        self._encoder = InputEncoder(backend, backend.input_format)
        self._max_active = config.max_sessions
        self._max_open = config.max_sessions + config.max_queue
        self._clock = clock
        self._inbox: SimpleQueue[EmbeddingCall | None] = SimpleQueue()
        self._open: list[EmbeddingCall] = []  # those without a result
        self._turns: deque[EmbeddingCall] = deque()  # of them, those with texts that no batch has taken yet
        self._batch = StepPlan()
        self._ended: BaseException | None = None  # what every call has got

    # Any thread

    def prepare_texts(self, texts: Sequence[str], *, truncate: bool) -> EmbeddingCall:
        """A call that embeds texts.

        Raises:
            InvalidRequest, TextTooLong, EngineClosed
        """
        if self.backend.info.kind != "embedding":
            raise InvalidRequest(f"{self.backend.info.name} is a rerank model: it cannot embed.")
        return EmbeddingCall(self._encoder.texts(texts, truncate=truncate))

    def prepare_pairs(self, query: str, documents: Sequence[str], *, truncate: bool) -> EmbeddingCall:
        """A call that scores documents.

        Raises:
            InvalidRequest, TextTooLong, EngineClosed
        """
        if self.backend.info.kind != "rerank":
            raise InvalidRequest(f"{self.backend.info.name} is an embedding model: it cannot rerank.")
        return EmbeddingCall(self._encoder.pairs(query, documents, truncate=truncate))

    def post(self, call: EmbeddingCall | None) -> None:
        """Hand a call to the engine thread; None only wakes it. After the end, a call fails."""
        self._inbox.put(call)
        if self._ended is not None:
            self._refuse(self._ended)

    def stats(self) -> EngineStats:
        """A frozen snapshot. Requests are calls; all their tokens are prompt tokens."""
        count, batch = len(self._open), self._batch
        return replace(
            self.metrics.snapshot(),
            active=min(count, self._max_active),
            waiting=max(0, count - self._max_active),
            max_sessions=self._max_active,
            batch_tokens=batch.tokens,
            batch_capacity=self.backend.batch_tokens,
            batch_sequences=len(batch.work),
        )

    # Engine thread

    def stop(self) -> None:
        """Do nothing: nothing outlives a step."""

    def wait(self) -> None:
        """Block until a call arrives."""
        self._batch = StepPlan()
        self._accept(self._inbox.get())

    def step(self) -> bool:
        """Compute one batch; False when there was nothing to compute."""
        while not self._inbox.empty():  # this thread is the only consumer
            self._accept(self._inbox.get_nowait())
        self._drop_cancelled()
        batch = self._fill()
        if batch:
            self._compute(batch)
        return bool(batch)

    def fail_all(self, error: BaseException) -> None:
        """End every open call with an error, including queued and later ones."""
        self._ended = error
        for call in [*self._open]:
            self._end(call, error)
        self._refuse(error)

    def close(self) -> None:
        """End every call with `EngineClosed`."""
        self.fail_all(EngineClosed("The engine was closed while this call was waiting."))

    def _refuse(self, error: BaseException) -> None:
        """Fail the calls in the inbox; any thread, once the engine thread reads it no more."""
        with suppress(Empty):
            while True:
                if (call := self._inbox.get_nowait()) is not None and _is_wanted(call):
                    call.result.set_exception(error)

    def _accept(self, call: EmbeddingCall | None) -> None:
        if call is None:
            return
        self._open.append(call)
        if len(self._open) > self._max_open:
            self._end(call, QueueFull(f"{self._max_open:,} calls are waiting already; try again later."))
            return
        self._turns.append(call)
        self.metrics.prompt(sum(call.tokens), 0)

    def _drop_cancelled(self) -> None:
        for call in [call for call in self._open if call.result.cancelled()]:
            self._end(call, None)

    def _fill(self) -> list[Item]:
        """Take the next texts, in turn one of each call, until no call's next text fits.

        A text larger than a batch goes alone. Calls that were passed over go first in the next batch.
        """
        batch: list[Item] = []
        passed: list[EmbeddingCall] = []
        room = self.backend.batch_tokens
        while self._turns and len(batch) < self.backend.batch_texts:
            call = self._turns.popleft()
            size = len(call.texts[call.started])
            if batch and size > room:
                passed.append(call)
                continue
            batch.append((call, call.started))
            room -= size
            call.started += 1
            if call.started < len(call.texts):
                self._turns.append(call)
        self._turns.extendleft(reversed(passed))
        return batch

    def _compute(self, batch: list[Item]) -> None:
        """Compute a batch; if that fails, each text alone, so that only the culprit's call fails."""
        start = self._clock()
        plan = StepPlan(
            tuple(Work(0, slot, 0, tuple(call.texts[at]), 0) for slot, (call, at) in enumerate(batch))
        )
        try:
            vectors = self.backend.pool(plan.work)
        except GenerationFailed as error:
            if len(batch) == 1:
                self._end(batch[0][0], error)
                return
            for call, at in batch:
                if call in self._open:
                    self._compute([(call, at)])
            return
        spent = self._clock() - start
        self._batch = plan
        self.metrics.step(plan, StepResult(decode_s=spent), busy_s=spent)
        for (call, at), vector in zip(batch, vectors, strict=True):
            call.vectors[at] = vector
            if len(call.vectors) == len(call.texts):
                self._end(call, None)

    def _end(self, call: EmbeddingCall, error: BaseException | None) -> None:
        """Give a call its error, or its vectors; nothing if it was cancelled or has ended."""
        if call not in self._open:
            return
        self._open.remove(call)
        with suppress(ValueError):
            self._turns.remove(call)
        if not _is_wanted(call):
            self.metrics.finished(FinishReason.CANCELLED)
        elif error is not None:
            self.metrics.finished(None)
            call.result.set_exception(error)
        else:
            self.metrics.finished(FinishReason.STOP)
            call.result.set_result([call.vectors[at] for at in range(len(call.texts))])


def _is_wanted(call: EmbeddingCall) -> bool:
    """Whether nobody has cancelled the call; from then on, nobody can."""
    return call.result.set_running_or_notify_cancel()


def unit_length(vector: Vector) -> Vector:
    """The vector divided by its Euclidean length; one without a length stays as it is."""
    length = math.hypot(*vector)
    return [number / length for number in vector] if length else vector
