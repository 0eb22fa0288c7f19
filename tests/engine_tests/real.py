"""Asking a real engine, and comparing what its model saw."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import (
    ChatMessage,
    Engine,
    FinishReason,
    GenerationRequest,
    Priority,
    SamplingParams,
    Timings,
    TokenStream,
)
from engine.llama.backend import LlamaBackend
from engine.step import Work

THREADS = 1  # of llama.cpp: test processes run side by side, and its threads wait for each other at barriers

# Kernels round differently for other batch shapes and other places in the KV cache. Log-probabilities of the
# likely tokens agree within this, half of the time within a quarter of it, and tokens are the same wherever
# the best two are further apart. A wrong or missing token in the context changes them by several.
TOLERANCE = 2.0

Row = npt.NDArray[np.float32]


@dataclass
class Answer:
    """A read stream."""

    text: str
    reason: FinishReason | None
    timings: Timings
    arrivals: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)


async def read(stream: TokenStream) -> Answer:
    """Read a stream to its end."""
    arrivals: list[float] = []
    text = ""
    async for chunk in stream:
        text += chunk.text
        arrivals.append(asyncio.get_running_loop().time())
    return Answer(text, stream.finish_reason, stream.timings, arrivals)


def request(
    *contents: str,
    session_id: str | None = None,
    system: str = "",
    priority: Priority = Priority.NORMAL,
    n: int = 1,
    **sampling: Any,
) -> GenerationRequest:
    """User and assistant messages in turns; greedy and short unless told otherwise."""
    messages = [ChatMessage("system", system)] if system else []
    for number, content in enumerate(contents):
        messages.append(ChatMessage("assistant" if number % 2 else "user", content))
    params = SamplingParams(**({"max_tokens": 40, "temperature": 0.0} | sampling))
    return GenerationRequest(
        messages=messages, sampling=params, session_id=session_id, priority=priority, n=n
    )


async def ask(engine: Engine, *contents: str, **options: Any) -> Answer:
    """Send messages and read the answer; `rows` are the logits of its tokens where the backend records."""
    stream = engine.submit(request(*contents, **options))
    answer = await read(stream)
    if isinstance(backend := backend_of(engine), Recording):
        answer.rows = backend.rows_of(stream)
    return answer


def backend_of(engine: Engine) -> LlamaBackend:
    """The engine's backend."""
    assert isinstance(engine._backend, LlamaBackend)
    return engine._backend


async def settle(engine: Engine) -> None:
    """Wait until the engine has handled every command so far, is idle, and shows it in its stats."""
    core = engine._core
    assert core is not None
    for threads in (engine._prepare, engine._compile):
        await asyncio.wrap_future(threads.submit(lambda: None))
    for _ in range(2):  # it publishes its stats before it takes the second one out of its inbox
        core.post(None)
        while not core._inbox.empty():  # noqa: ASYNC110 - the engine has no such event
            await asyncio.sleep(0.001)
    while engine.stats().active or engine.stats().waiting:  # noqa: ASYNC110 - requests nobody reads have no event
        await asyncio.sleep(0.01)


async def drop_unowned(engine: Engine) -> None:
    """Settle, and drop what belongs to no session from the KV cache, pinned system prompts included."""
    engine.forget("nobody")
    await settle(engine)


class Recording(LlamaBackend):
    """Keeps the logits each token was chosen from."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows: dict[int, list[Row]] = {}
        self._seeds: dict[int, int] = {}
        self._sample = self._sampler.sample
        self._sampler.sample = self._record  # type: ignore[method-assign]

    def rows_of(self, stream: TokenStream) -> list[Row]:
        """The logits of an answer, which its seed identifies."""
        return next(self.rows[number] for number, seed in self._seeds.items() if seed == stream.seed)

    def open_sampler(self, request_id: int, params: SamplingParams, *args: Any) -> None:
        assert params.seed is not None
        self._seeds[request_id] = params.seed
        super().open_sampler(request_id, params, *args)

    def _record(self, logits: Row, work: Sequence[Work]) -> dict[int, tuple[int, ...]]:
        copied, at = logits.copy(), 0
        sampled = self._sample(logits, work)
        for item in work:
            rows = copied[at : at + len(sampled[item.request_id])]
            self.rows.setdefault(item.request_id, []).extend(rows)
            at += item.rows
        return sampled


def compare(left: Answer, right: Answer) -> int:
    """Check that two greedy answers come from the same context; returns the number of tokens compared."""
    differences = []
    for one, other in zip(left.rows, right.rows, strict=False):
        first, second = _log_probabilities(one), _log_probabilities(other)
        likely = np.argsort(-first)[:20]
        differences.append(np.abs(first - second)[likely].max())
        if first.argmax() != second.argmax():
            assert first[likely[0]] - first[likely[1]] < TOLERANCE
            break
    assert max(differences) < TOLERANCE
    assert np.median(differences) < TOLERANCE / 4
    return len(differences)


def _log_probabilities(logits: Row) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
