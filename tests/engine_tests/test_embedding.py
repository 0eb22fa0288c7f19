"""Embedding and reranking on a fake backend: turns, cancels, faults and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, Literal

import pytest
from engine_tests.fakes import FakeBackend, read

from bench.engine.fake_backend import fake_info
from engine import (
    Embeddings,
    Engine,
    EngineClosed,
    EngineConfig,
    EngineCrashed,
    GenerationFailed,
    GenerationRequest,
    InvalidRequest,
    QueueFull,
    SamplingParams,
    TextTooLong,
)
from engine.embedding import EmbeddingCall, EmbeddingCore
from engine.step import SpecialTokens, Work
from engine.text import InputFormat

CONFIG = EngineConfig(model_path=Path("fake.gguf"), max_sessions=2, max_queue=2)
_SHORT = SamplingParams(max_tokens=3)


class FakeEmbedder:
    """The vector of a text is its length and its first character; a token is a character.

    Attributes:
        batches: the texts of every forward pass.
        bad: a text that llama.cpp cannot compute.
        gate: forward passes wait for it, each having set `entered`.
    """

    def __init__(self, kind: Literal["embedding", "rerank"] = "embedding") -> None:
        self.info = replace(fake_info(0), kind=kind, context_tokens=20, embedding_width=2)
        self.input_format = InputFormat(20, pair_between=(ord("|"),))
        self.batch_tokens, self.batch_texts = 10, 4
        self.batches: list[list[str]] = []
        self.bad = ""
        self.gate, self.entered = Event(), Event()
        self.gate.set()
        self.error: Exception | None = None
        self.closed = False

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        return [ord(char) for char in text]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return chr(token).encode()

    def special_tokens(self) -> SpecialTokens:
        return SpecialTokens()

    def pool(self, work: Sequence[Work]) -> list[list[float]]:
        self.entered.set()
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        texts = ["".join(map(chr, item.tokens)) for item in work]
        assert [item.slot for item in work] == [*range(len(work))]
        assert len(texts) <= self.batch_texts
        assert len(texts) == 1 or sum(map(len, texts)) <= self.batch_tokens
        self.batches.append(texts)
        if self.bad in texts:
            raise GenerationFailed("bad text")
        return [[float(len(text)), float(ord(text[0]))] for text in texts]

    def close(self) -> None:
        self.closed = True


def fake(backend: Any) -> Engine:
    return Engine(CONFIG, load=lambda config, progress: backend)


def core_of(backend: FakeEmbedder) -> EmbeddingCore:
    return EmbeddingCore(CONFIG, backend)


def call(core: EmbeddingCore, *texts: str) -> EmbeddingCall:
    made = core.prepare_texts(texts, truncate=False)
    core.post(made)
    return made


def drive(core: EmbeddingCore) -> None:
    while core.step():
        pass


async def held(engine: Engine, backend: FakeEmbedder) -> asyncio.Task[Embeddings]:
    """A call whose first batch is being computed until the gate opens."""
    backend.gate.clear()
    task = asyncio.create_task(engine.embed(["a" * 10, "b" * 10, "c" * 10]))
    assert await asyncio.to_thread(backend.entered.wait, 60)
    return task


async def test_texts_become_vectors_in_their_order() -> None:
    backend = FakeEmbedder()
    async with fake(backend) as engine:
        assert engine.info.kind == "embedding"
        result = await engine.embed(["abc", "d" * 12, "ef"], normalize=False)
        assert result == Embeddings([[3.0, 97.0], [12.0, 100.0], [2.0, 101.0]], [3, 12, 2])
        assert await engine.embed([]) == Embeddings([], [])
        (unit,) = (await engine.embed(["c"])).vectors
        assert unit == pytest.approx([1 / (1 + 99**2) ** 0.5, 99 / (1 + 99**2) ** 0.5])
        assert engine.count_tokens("four") == 4
        assert engine.detokenize([97]) == "a"
        stats = engine.stats()
        assert (stats.requests_done, stats.active, stats.max_sessions) == (2, 0, 2)
        assert stats.prompt_tokens == stats.computed_tokens == 18
        assert engine.load == 0.0
    assert backend.closed


async def test_documents_get_scores() -> None:
    async with fake(FakeEmbedder("rerank")) as engine:
        result = await engine.rerank("qq", ["a", "bcd"])
        assert (result.scores, result.tokens) == ([4.0, 6.0], [4, 6])
        assert (await engine.rerank("qq", [])).scores == []
        with pytest.raises(InvalidRequest, match="fake is a rerank model: it cannot embed"):
            await engine.embed(["a"])


async def test_a_model_that_pools_writes_no_text() -> None:
    async with fake(FakeEmbedder()) as engine:
        stream = engine.submit(GenerationRequest(text="hi"))
        with pytest.raises(InvalidRequest, match="fake is an embedding model: it cannot write text"):
            await read(stream)
        with pytest.raises(InvalidRequest, match="cannot write text"):
            engine.count_prompt([])
        with pytest.raises(InvalidRequest, match="embedding model: it cannot rerank"):
            await engine.rerank("a", ["b"])
        engine.cancel(stream)
        engine.focus("s")
        engine.forget("s")
        assert len((await engine.embed(["still alive"])).vectors) == 1


async def test_a_model_that_writes_text_embeds_nothing() -> None:
    async with fake(FakeBackend()) as engine:
        assert engine.info.kind == "text"
        for asked in (engine.embed(["a"]), engine.rerank("a", ["b"])):
            with pytest.raises(InvalidRequest, match="fake writes text: it cannot embed or rerank"):
                await asked
        assert len(await read(engine.submit(GenerationRequest(text="hi", sampling=_SHORT)))) == 3


async def test_a_text_that_is_too_long_costs_nothing() -> None:
    backend = FakeEmbedder()
    async with fake(backend) as engine:
        with pytest.raises(TextTooLong, match="Text 2 of 2 has 21 tokens"):
            await engine.embed(["a", "b" * 21])
        assert backend.batches == []
        assert (await engine.embed(["b" * 21], normalize=False, truncate=True)).vectors == [[20.0, 98.0]]


def test_texts_share_forward_passes_up_to_their_limits() -> None:
    backend = FakeEmbedder()
    core = core_of(backend)
    made = call(core, "aaaa", "bbbb", "cccc", *"defgh", "i" * 15, "j")
    drive(core)
    assert backend.batches == [["aaaa", "bbbb"], ["cccc", "d", "e", "f"], ["g", "h"], ["i" * 15], ["j"]]
    assert [vector[1] for vector in made.result.result(0)] == [float(ord(char)) for char in "abcdefghij"]


def test_calls_take_turns() -> None:
    backend = FakeEmbedder()
    core = core_of(backend)
    large = call(core, *["a" * 9] * 3)
    small = call(core, *"xyz")
    drive(core)
    assert backend.batches == [["a" * 9, "x"], ["a" * 9, "y"], ["a" * 9, "z"]]
    assert (len(large.result.result(0)), len(small.result.result(0))) == (3, 3)


def test_a_text_that_was_passed_over_goes_first() -> None:
    backend = FakeEmbedder()
    core = core_of(backend)
    call(core, *"abcdef")
    call(core, "x" * 10, "x" * 10)
    drive(core)
    assert backend.batches == [["a", "b", "c", "d"], ["x" * 10], ["e", "f"], ["x" * 10]]


def test_only_the_call_with_the_bad_text_fails() -> None:
    backend = FakeEmbedder()
    backend.bad = "b"
    core = core_of(backend)
    bad, good = call(core, *"abc"), call(core, *"xy")
    drive(core)
    assert [vector[1] for vector in good.result.result(0)] == [120.0, 121.0]
    with pytest.raises(GenerationFailed, match="bad text"):
        bad.result.result(0)
    assert ["c"] not in backend.batches, "its other texts are not computed any more"
    assert (core.stats().requests_failed, core.stats().requests_done) == (1, 1)


def test_a_cancel_takes_effect_between_two_batches() -> None:
    backend = FakeEmbedder()
    core = core_of(backend)
    cancelled, other = call(core, *["a" * 6] * 5), call(core, "xy")
    core.step()
    assert cancelled.result.cancel()
    drive(core)
    assert backend.batches == [["a" * 6, "xy"]]
    assert other.result.result(0) == [[2.0, 120.0]]
    stats = core.stats()
    assert (stats.requests_cancelled, stats.requests_done, stats.active) == (1, 1, 0)


async def test_cancelling_the_task_leaves_the_engine_healthy() -> None:
    backend = FakeEmbedder()
    async with fake(backend) as engine:
        task = await held(engine, backend)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        backend.gate.set()
        assert (await engine.embed(["d"], normalize=False)).vectors == [[1.0, 100.0]]
        assert backend.batches == [["a" * 10], ["d"]]


async def test_close_tells_the_calls_that_wait() -> None:
    backend = FakeEmbedder()
    engine = fake(backend)
    await engine.start()
    first = await held(engine, backend)
    second = asyncio.create_task(engine.embed(["d"]))
    core, worker = engine._embedding, engine._worker
    assert core is not None
    assert worker is not None
    while core._inbox.empty():  # noqa: ASYNC110 - the engine has no such event
        await asyncio.sleep(0.001)
    closing = asyncio.create_task(engine.close())
    while not worker._stopping:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    backend.gate.set()
    for task in (first, second):
        with pytest.raises(EngineClosed):
            await asyncio.wait_for(task, 60)
    await closing
    assert backend.closed
    with pytest.raises(EngineClosed):
        await engine.embed(["d"])


async def test_a_call_that_arrives_after_the_end_is_refused() -> None:
    async with fake(FakeEmbedder()) as engine:
        core = engine._embedding
        assert core is not None
    made = call(core, "late")
    with pytest.raises(EngineClosed):
        made.result.result(0)


async def test_a_dead_engine_thread_is_told_to_every_call() -> None:
    backend = FakeEmbedder()
    engine = fake(backend)
    await engine.start()
    task = await held(engine, backend)
    backend.error = MemoryError("no more")
    backend.gate.set()
    with pytest.raises(EngineCrashed, match="no more"):
        await asyncio.wait_for(task, 60)
    with pytest.raises(EngineCrashed):
        await engine.embed(["a"])
    await engine.close()
    assert backend.closed


def test_too_many_calls_are_refused() -> None:
    core = core_of(FakeEmbedder())
    calls = [call(core, "a") for _ in range(5)]
    drive(core)
    assert all(made.result.result(0) for made in calls[:4])
    with pytest.raises(QueueFull, match="4 calls are waiting"):
        calls[4].result.result(0)


async def test_many_calls_at_once() -> None:
    engine = Engine(replace(CONFIG, max_queue=100), load=lambda config, progress: FakeEmbedder())
    async with engine:
        asked = [engine.embed([chr(97 + n % 26)] * (n % 5 + 1), normalize=False) for n in range(60)]
        for n, result in enumerate(await asyncio.gather(*asked)):
            assert result.vectors == [[1.0, 97.0 + n % 26]] * (n % 5 + 1)


async def test_a_single_text_is_no_list_of_letters() -> None:
    async with fake(FakeEmbedder()) as engine:
        with pytest.raises(InvalidRequest, match="list of strings"):
            await engine.embed("hello")
    async with fake(FakeEmbedder("rerank")) as engine:
        with pytest.raises(InvalidRequest, match="list of strings"):
            await engine.rerank("question", "hello")
