"""Embedding and reranking with real models: all-MiniLM-L6-v2, as GGUF and by sentence-transformers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from engine_tests.minilm import Head
from engine_tests.real import THREADS
from waiting import until

from engine import (
    Engine,
    EngineClosed,
    EngineConfig,
    GenerationFailed,
    InvalidRequest,
    ModelError,
    ModelTooLarge,
    TextTooLong,
)
from engine.llama import LlamaEmbedder, Pooling, pooling_of
from engine.llama.header import read_tensor_names
from engine.step import Work

if TYPE_CHECKING:
    from memory.vectors import WorkerEmbedder

TEXTS = [
    "The cat sits on the mat.",
    "a",
    "Ein Kätzchen schläft auf der Fußmatte, naïve façade, coöperation!",
    "Москва — столица России; Αθήνα είναι η πρωτεύουσα.",
    "東京は日本の首都です。 猫が好き",
    "emoji 🙂 and ①②③, tabs\tand\nnew lines",
    "def f(x): return x**2  # snake_case, CamelCase, 3.14159",
    "Tell me about the history of the printing press in Europe. " * 12,
]
ROUNDING = 1e-3  # measured 1e-4: kernels add in another order for another shape of a batch

Array = npt.NDArray[np.float32]


def config_of(path: Path, **settings: int) -> EngineConfig:
    return EngineConfig(model_path=path, threads=THREADS, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def config(minilm: Callable[[str], Path]) -> EngineConfig:
    return config_of(minilm("embedding"))


@pytest.fixture
async def engine(config: EngineConfig) -> AsyncIterator[Engine]:
    async with Engine(config) as engine:
        yield engine


@pytest.fixture
async def reranker(minilm: Callable[[str], Path]) -> AsyncIterator[Engine]:
    async with Engine(config_of(minilm("rerank"))) as engine:
        yield engine


@pytest.fixture(scope="module")
def backend(config: EngineConfig) -> Iterator[LlamaEmbedder]:
    backend = LlamaEmbedder(config, Pooling.MEAN)
    yield backend
    backend.close()


async def vectors(engine: Engine, texts: list[str]) -> Array:
    return np.array((await engine.embed(texts)).vectors, np.float32)


@pytest.mark.campaign  # the application compares them in its own tests
async def test_vectors_are_those_of_sentence_transformers(engine: Engine, embedder: WorkerEmbedder) -> None:
    ours, theirs = await vectors(engine, TEXTS), await asyncio.to_thread(embedder.embed, TEXTS)
    cosines = (ours * theirs).sum(axis=1)
    assert cosines.min() > 0.999, dict(zip(TEXTS, cosines, strict=True))
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


async def test_a_text_alone_has_the_vector_that_it_has_in_a_batch(engine: Engine) -> None:
    together = await vectors(engine, TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.abs(vector - (await vectors(engine, [text]))[0]).max() < ROUNDING
    backwards = await vectors(engine, TEXTS[::-1])
    assert np.abs(together - backwards[::-1]).max() < ROUNDING


async def test_the_model_says_what_it_is(engine: Engine) -> None:
    info = engine.info
    assert (info.name, info.kind, info.embedding_width) == ("MiniLM", "embedding", 384)
    assert (info.context_tokens, info.trained_context, info.kv_cells) == (512, 512, 0)
    assert info.layer_count == 6


async def test_vectors_as_the_model_computes_them(engine: Engine) -> None:
    raw = np.array((await engine.embed(TEXTS[:2], normalize=False)).vectors)
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.abs(lengths - 1).min() > 0.1
    assert np.allclose(raw / lengths, await vectors(engine, TEXTS[:2]), atol=1e-6)


async def test_more_texts_than_a_batch_holds(minilm: Callable[[str], Path], engine: Engine) -> None:
    texts = [f"Text {number} about {('cats', 'dogs', 'birds')[number % 3]}." for number in range(200)]
    texts[100] = "A much longer text. " * 60
    narrow = config_of(minilm("embedding"), batch_tokens=64, max_sessions=2, cached_sessions=0)
    async with Engine(narrow) as small:
        found = await small.embed(texts)
        assert small.stats().steps > 20
    assert found.tokens[100] == 302
    assert np.abs(np.array(found.vectors) - await vectors(engine, texts)).max() < ROUNDING


async def test_the_longest_text_and_one_more_token(engine: Engine) -> None:
    fits = " ".join(["cat"] * 510)  # and two tokens around it
    assert (await engine.embed([fits])).tokens == [512]
    with pytest.raises(TextTooLong, match="Text 2 of 2 has 513 tokens, but the model reads at most 512"):
        await engine.embed(["a", f"{fits} cat"])
    cut = await engine.embed([f"{fits} dog dog dog"], truncate=True)
    assert cut.tokens == [512]
    assert np.allclose(cut.vectors, await vectors(engine, [fits]), atol=ROUNDING)


async def test_context_tokens_is_the_limit_of_a_text(minilm: Callable[[str], Path]) -> None:
    settings = {"context_tokens": 48, "batch_tokens": 32, "max_sessions": 1, "cached_sessions": 0}
    async with Engine(config_of(minilm("embedding"), **settings)) as engine:
        assert engine.info.context_tokens == 48
        assert (await engine.embed([" ".join(["cat"] * 46)])).tokens == [48]
        with pytest.raises(TextTooLong, match="at most 48"):
            await engine.embed([" ".join(["cat"] * 47)])


async def test_a_text_cannot_write_control_tokens(engine: Engine) -> None:
    tokens = (await engine.embed(["cat", "cat [SEP] cat", "[CLS]"])).tokens
    assert tokens[0] == 3
    assert tokens[1] > 5
    assert tokens[2] > 3, "which looks like a begin token, but is text between the real ones"


async def test_hostile_texts(engine: Engine) -> None:
    texts = ["\ud800 alone", "a\0b", "\u0301", "\U0010ffff" * 40, "x" * 20_000, "\u200b\u200b"]
    refused = []
    for text in texts:
        try:
            (vector,) = (await engine.embed([text], truncate=True)).vectors
            assert np.isfinite(vector).all()
        except InvalidRequest:
            refused.append(text)
    assert refused == ["\u0301", "\u200b\u200b"], "nothing is left of accents and control characters"
    with pytest.raises(InvalidRequest, match="Text 2 of 3 is empty"):
        await engine.embed(["a", " \n ", "b"])


async def test_many_calls_at_once_and_some_cancelled(engine: Engine) -> None:
    alone = await vectors(engine, TEXTS)
    steps = engine.stats().steps
    tasks = [asyncio.create_task(engine.embed(TEXTS * 3)) for _ in range(8)]
    await until(lambda: engine.stats().steps > steps)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    done = [result for result in results if not isinstance(result, BaseException)]
    assert len(done) >= 4
    for result in done:
        assert np.abs(np.array(result.vectors) - np.tile(alone, (3, 1))).max() < ROUNDING
    assert engine.stats().active == 0


async def test_an_encoder_that_does_not_say_how_it_pools_takes_the_mean(
    minilm: Callable[[str], Path], engine: Engine
) -> None:
    async with Engine(config_of(minilm("silent"))) as silent:
        assert np.allclose(await vectors(silent, TEXTS[:3]), await vectors(engine, TEXTS[:3]), atol=ROUNDING)


def test_files_tell_how_they_pool(minilm: Callable[[str], Path], starter_model: Path, tmp_path: Path) -> None:
    assert pooling_of(minilm("embedding")) is Pooling.MEAN
    assert pooling_of(minilm("rerank")) is Pooling.RANK
    assert pooling_of(starter_model) is None
    assert pooling_of(tmp_path) is pooling_of(tmp_path / "nothing.gguf") is None


def test_a_decoder_that_pools_its_last_token(starter_model: Path) -> None:
    """With a KV cache, which every batch finds empty."""
    backend = LlamaEmbedder(config_of(starter_model, context_tokens=1024), Pooling.LAST)
    try:
        texts = [tuple(backend.tokenize(text)) for text in TEXTS[:4]]
        together = backend.pool([Work(0, slot, 0, tokens, 0) for slot, tokens in enumerate(texts)])
        for tokens, vector in zip(texts, together, strict=True):
            (alone,) = backend.pool([Work(0, 0, 0, tokens, 0)])
            cosine = np.dot(alone, vector) / np.linalg.norm(alone) / np.linalg.norm(vector)
            assert cosine > 0.999
        assert backend.info.embedding_width == len(together[0]) == 576
    finally:
        backend.close()


@pytest.mark.parametrize(
    "work",
    [
        [Work(0, 1, 0, (1,), 0)],
        [Work(0, 0, 0, (), 0)],
        [Work(0, 0, 0, (1,) * 513, 0)],
        [Work(0, 0, 0, (-1,), 0)],
        [Work(0, 0, 0, (1, 30_522), 0)],
        [Work(0, slot, 0, (1,), 0) for slot in range(65)],
        [Work(0, slot, 0, (1,) * 100, 0) for slot in range(21)],
    ],
    ids=["slot", "empty", "long", "negative", "unknown", "texts", "tokens"],
)
def test_what_would_abort_the_process_is_refused(backend: LlamaEmbedder, work: list[Work]) -> None:
    with pytest.raises((ValueError, GenerationFailed), match=r"batch|tokens|vocabulary"):
        backend.pool(work)
    assert len(backend.pool([Work(0, 0, 0, (101, 102), 0)])[0]) == 384


def test_a_closed_model_is_an_error_and_no_crash(config: EngineConfig) -> None:
    backend = LlamaEmbedder(config, Pooling.MEAN)
    backend.close()
    with pytest.raises(EngineClosed, match="unloaded"):
        backend.tokenize("hello")


def test_a_batch_that_cannot_fit_the_machine(config: EngineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=1 << 30, available=1 << 29)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    LlamaEmbedder(replace(config, gpu_layers=0), Pooling.MEAN).close()
    with pytest.raises(ModelTooLarge, match=r"1\.9 GiB for the context"):
        LlamaEmbedder(replace(config, gpu_layers=0, batch_tokens=16_384), Pooling.MEAN)


# Reranking

QUERY = "Where do cats sleep?"
DOCUMENTS = [
    "Cats sleep on mats.",
    "The stock market fell on Monday.",
    "Sleep is good for you. " * 10,
    "Mats.",
]


async def test_scores_are_those_of_the_head_over_the_first_token(
    reranker: Engine, minilm: Callable[[str], Path]
) -> None:
    found = await reranker.rerank(QUERY, DOCUMENTS)
    assert reranker.info.kind == "rerank"
    first = LlamaEmbedder(config_of(minilm("rerank")), Pooling.CLS)
    try:
        for document, score, count in zip(DOCUMENTS, found.scores, found.tokens, strict=True):
            query, text = first.tokenize(QUERY), first.tokenize(document)
            tokens = (101, *query, 102, *text)  # as the vocabulary of a BERT says
            (vector,) = first.pool([Work(0, 0, 0, tokens, 0)])
            assert len(tokens) == count
            assert score == pytest.approx(Head().score(np.array(vector, np.float32)), abs=5e-3)
    finally:
        first.close()


def test_a_rerank_model_without_a_classifier_is_refused(minilm: Callable[[str], Path]) -> None:
    assert "blk.5.ffn_down.bias" in read_tensor_names(minilm("embedding"))
    assert {"cls.weight", "cls.output.bias"} < read_tensor_names(minilm("rerank"))
    with pytest.raises(ModelError, match=r"embedding\.gguf is a rerank model without a classifier"):
        LlamaEmbedder(config_of(minilm("embedding")), Pooling.RANK)


async def test_scores_belong_to_their_documents(reranker: Engine) -> None:
    scores = (await reranker.rerank(QUERY, DOCUMENTS)).scores
    assert len({round(score, 2) for score in scores}) == len(DOCUMENTS)
    backwards = (await reranker.rerank(QUERY, DOCUMENTS[::-1])).scores
    assert backwards[::-1] == pytest.approx(scores, abs=5e-3)
    for document, score in zip(DOCUMENTS, scores, strict=True):
        assert (await reranker.rerank(QUERY, [document])).scores == pytest.approx([score], abs=5e-3)
    other = (await reranker.rerank("What did the market do?", DOCUMENTS)).scores
    assert all(abs(one - two) > 5e-2 for one, two in zip(scores, other, strict=True))


async def test_a_template_says_how_query_and_document_are_joined(minilm: Callable[[str], Path]) -> None:
    async with Engine(config_of(minilm("template"))) as engine:
        found = await engine.rerank("cat", ["dog", "dog [SEP] dog"])
        assert found.tokens[0] == 5
        assert found.tokens[1] > 7, "a document cannot spell control tokens"


async def test_a_document_that_is_too_long(reranker: Engine) -> None:
    long = " ".join(["cat"] * 600)
    with pytest.raises(TextTooLong, match=r"The query with document 2 of 2 has 607 tokens, .* at most 512"):
        await reranker.rerank(QUERY, ["a", long])
    cut = await reranker.rerank(QUERY, [long, "cat " * 505], truncate=True)
    assert cut.tokens[0] == 512
    with pytest.raises(TextTooLong, match="The query without a document"):
        await reranker.rerank(long, ["a"], truncate=True)
