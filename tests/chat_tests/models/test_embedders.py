"""The embedding model that the settings name: found, or refused with one line; GGUFs by a real llama.cpp."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_bert import write_cross_encoder, write_sentence_bert

from memory import EmbedderUnavailable, RerankerUnavailable
from memory.vectors import WorkerEmbedder, WorkerReranker
from stevemin_chat.base import MemorySection, Paths
from stevemin_chat.models import (
    configured_embedder,
    configured_reranker,
    embedder_label,
    reopened_embedder,
)

TEXTS = ["The cat sits on the mat.", "A kitten sleeps.", "Stocks fell on Monday.", "", "\u0301", "x" * 9000]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with prompts."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_sentence_bert(folder, prompts={"query": "q: ", "document": "d: "})
    return folder


@pytest.fixture
def paths(stevemin_home: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(stevemin_home / "hub"))
    paths = Paths.resolve()
    paths.prepare()
    return paths


def made(
    paths: Paths, spec: str | None, *, query: str | None = None, passage: str | None = None
) -> WorkerEmbedder:
    settings = MemorySection(embedder=spec, embedder_query_prefix=query, embedder_passage_prefix=passage)
    embedder = configured_embedder(paths, settings)
    assert isinstance(embedder, WorkerEmbedder)
    return embedder


def refusal(paths: Paths, spec: str) -> str:
    with pytest.raises(EmbedderUnavailable) as raised:
        made(paths, spec)
    said = str(raised.value)
    assert "\n" not in said
    return said


# Models of sentence-transformers


def test_the_usual_model_keeps_its_name(paths: Paths) -> None:
    """Or every vector would be made again."""
    embedder = made(paths, None)
    assert (embedder.name, embedder.dimension, embedder.recipe) == (WorkerEmbedder().name, 384, "")


def test_a_folder_with_the_prompts_of_its_settings(paths: Paths, bert: Path) -> None:
    embedder = made(paths, str(bert))
    assert embedder_label(embedder.name) == "tiny"
    assert embedder.dimension == 32
    try:
        questions, passages = embedder.embed(TEXTS, query=True), embedder.embed(TEXTS)
        assert questions.shape == (6, 32)
        assert np.allclose(np.linalg.norm(passages, axis=1), 1, atol=1e-5)
        assert 0.5 < (questions[0] * passages[0]).sum() < 0.9999
    finally:
        embedder.close()


def test_prefixes_of_the_settings_make_it_another_model(paths: Paths, bert: Path) -> None:
    """What a prefix does is shown with a GGUF below, which loads faster."""
    usual, plain = made(paths, str(bert)), made(paths, str(bert), query="", passage="q: ")
    assert plain.name != usual.name, "the vectors of passages are others"


def test_a_model_in_the_cache_of_the_hub(paths: Paths, bert: Path, stevemin_home: Path) -> None:
    for repo in ("acme/tiny-e5-small", "sentence-transformers/tiny"):
        snapshot = stevemin_home / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots" / "abc"
        shutil.copytree(bert, snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("abc")
    assert embedder_label(made(paths, "acme/tiny-e5-small").name) == "acme/tiny-e5-small"
    assert embedder_label(made(paths, "tiny").name) == "sentence-transformers/tiny"
    said = refusal(paths, "acme/other")
    assert "acme/other is not on this machine" in said
    assert "hf download acme/other" in said
    assert "stevemin models pull acme/other" in said


def test_what_is_no_model(paths: Paths, bert: Path, tmp_path: Path) -> None:
    assert "no file or folder /nowhere" in refusal(paths, "/nowhere/model")
    assert "no sentence-transformers model" in refusal(paths, str(tmp_path))
    broken = tmp_path / "broken"
    shutil.copytree(bert, broken)
    (broken / "model.safetensors").unlink()
    assert "has no weights" in refusal(paths, str(broken))
    shutil.copy(bert / "model.safetensors", broken)
    (broken / "modules.json").write_text("{")
    assert "cannot be read" in refusal(paths, str(broken))
    (broken / "modules.json").unlink()
    (broken / "config.json").write_text("{}")
    assert "no embedding model that" in refusal(paths, str(broken))
    for odd in ("a\0b", "~nobody-has-this-name/x", "/" + "x" * 5000):
        refusal(paths, odd)


# GGUF


def test_a_gguf_gives_the_vectors_of_sentence_transformers(
    paths: Paths, minilm: Callable[[str], Path], embedder: WorkerEmbedder
) -> None:
    gguf = made(paths, str(minilm("embedding")))
    try:
        assert (embedder_label(gguf.name), gguf.dimension) == ("embedding", 384)
        ours, theirs = gguf.embed(TEXTS), embedder.embed(TEXTS)
        assert (ours[:3] * theirs[:3]).sum(axis=1).min() > 0.999
        assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-4)
        assert np.allclose(gguf.embed(TEXTS[:1]), ours[:1], atol=2e-3)
    finally:
        gguf.close()


def test_a_well_known_gguf_gets_its_usual_prefixes(
    paths: Paths, minilm: Callable[[str], Path], tmp_path: Path
) -> None:
    known = tmp_path / "multilingual-e5-small-q8_0.gguf"
    shutil.copy(minilm("embedding"), known)
    e5, plain = made(paths, str(known)), made(paths, str(minilm("embedding")))
    try:
        text = "where cats sleep"
        assert np.allclose(e5.embed([text]), plain.embed([f"passage: {text}"]), atol=2e-3)
        assert np.allclose(e5.embed([text], query=True), plain.embed([f"query: {text}"]), atol=2e-3)
    finally:
        e5.close()
        plain.close()


def test_names_and_relative_paths(paths: Paths, minilm: Callable[[str], Path]) -> None:
    pulled = paths.models_dir / "acme" / "minilm-GGUF" / "minilm.gguf"
    pulled.parent.mkdir(parents=True)
    shutil.copy(minilm("embedding"), pulled)
    beside = paths.config_file.parent / "own.gguf"
    beside.parent.mkdir(exist_ok=True)
    shutil.copy(pulled, beside)
    paths.user_catalogue.write_text(f'[models.mine]\npath = "{pulled}"\n')
    for spec in ("acme/minilm-GGUF:minilm.gguf", "acme/minilm-GGUF", "own.gguf", "mine"):
        assert made(paths, spec).dimension == 384
    assert made(paths, "own.gguf").name.rpartition(":")[2] == made(paths, "mine").name.rpartition(":")[2]


def test_what_is_no_gguf_that_embeds(
    paths: Paths, minilm: Callable[[str], Path], starter_model: Path, tmp_path: Path
) -> None:
    assert "no model that embeds or reranks" in refusal(paths, str(starter_model))
    assert "is a rerank model" in refusal(paths, str(minilm("rerank")))
    for content in (b"", b"GG", b"no model", b"GGUF", b"GGUF\3\0\0\0" + b"\xff" * 40):
        (tmp_path / "damaged.gguf").write_bytes(content)
        assert str(tmp_path / "damaged.gguf") in refusal(paths, str(tmp_path / "damaged.gguf"))


def test_a_damaged_gguf_ends_its_own_process_only(
    paths: Paths, minilm: Callable[[str], Path], tmp_path: Path
) -> None:
    half = tmp_path / "half.gguf"
    half.write_bytes(minilm("embedding").read_bytes()[: 20 << 20])
    embedder = made(paths, str(half))
    try:
        with pytest.raises(EmbedderUnavailable, match="failed twice"):
            embedder.embed(["a"])
    finally:
        embedder.close()


# Of the past


def test_a_recipe_makes_the_same_embedder_again(
    paths: Paths, bert: Path, minilm: Callable[[str], Path], tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(bert, moved)
    for embedder in (
        made(paths, None),
        made(paths, None, passage="p: "),
        made(paths, str(moved), query="ask: "),
        made(paths, str(minilm("embedding"))),
    ):
        again = reopened_embedder(paths, embedder.recipe)
        assert isinstance(again, WorkerEmbedder)
        assert (again.name, again._model.prefixes) == (embedder.name, embedder._model.prefixes)
    shutil.rmtree(moved)
    gone = json.dumps({"embedder": str(moved), "query_prefix": None, "passage_prefix": None})
    for recipe in (gone, "{", "[]", '{"embedder": 7}'):
        assert reopened_embedder(paths, recipe) is None


# Rerankers


def test_a_reranker_in_a_folder_or_a_gguf(
    paths: Paths, minilm: Callable[[str], Path], tmp_path: Path
) -> None:
    write_cross_encoder(tmp_path / "cross")
    texts = ["Cats sleep on mats.", "The stock market fell on Monday.", "", "\u0301", "x" * 9000]
    folder = configured_reranker(paths, MemorySection(reranker=str(tmp_path / "cross")))
    assert isinstance(folder, WorkerReranker), "test_rerank asks one; PyTorch takes ten seconds to load"
    folder.close()
    reranker = configured_reranker(paths, MemorySection(reranker=str(minilm("rerank"))))
    assert reranker is not None
    try:
        scores = reranker.scores("Where do cats sleep?", texts)
        assert len(scores) == 5
        assert scores[0] != pytest.approx(scores[1], abs=1e-3)
        assert reranker.scores("Where do cats sleep?", texts[:1]) == pytest.approx(scores[:1], abs=5e-3)
    finally:
        reranker.close()


def test_what_is_no_reranker(paths: Paths, minilm: Callable[[str], Path], tmp_path: Path) -> None:
    assert configured_reranker(paths, MemorySection()) is None
    for spec, reason in (
        ("/nowhere", "There is no file or folder /nowhere"),
        (str(tmp_path), "holds no cross-encoder"),
        (str(minilm("embedding")), "is an embedding model: it cannot rerank"),
        ("acme/reranker", r"The reranker acme/reranker is not on this machine.*change reranker under"),
    ):
        with pytest.raises(RerankerUnavailable, match=reason):
            configured_reranker(paths, MemorySection(reranker=spec))
