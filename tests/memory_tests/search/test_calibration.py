"""How near unrelated texts come, measured with real models: all-MiniLM-L6-v2, and one with random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from memory_tests.vectors.letters import Letters
from random_bert import write_sentence_bert

from memory.ports import Vectors
from memory.search import Calibration, unknown_languages
from memory.search.calibration import PROBES, spread
from memory.vectors import WorkerEmbedder, folder_model


class Shifted:
    """A model whose cosines all lie near each other, as those of E5 do: another one with a constant added.

    Args:
        embedder: the other one.
        weight: of the constant.
    """

    def __init__(self, embedder: WorkerEmbedder, weight: float) -> None:
        self.name = self.recipe = f"shifted by {weight}"
        self.dimension = embedder.dimension + 1
        self.ready = True
        self._embedder = embedder
        self._weight = weight

    def start(self) -> None: ...

    def close(self) -> None: ...

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        vectors = self._embedder.embed(texts, query=query)
        added = np.full((len(texts), 1), self._weight, np.float32)
        rows = np.concatenate([vectors, added], axis=1)
        unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


def measured(embedder: WorkerEmbedder | Shifted | Letters, language: str, stored: str) -> Calibration:
    """After measuring one language in a store of one passage."""
    [passage] = embedder.embed([stored])
    calibration = Calibration(
        lambda: embedder, lambda text: float(embedder.embed([text], query=True)[0] @ passage)
    )
    calibration.measure(embedder, language, 1)
    return calibration


def closeness(embedder: WorkerEmbedder | Shifted, question: str, stored: str) -> float | None:
    calibration = measured(embedder, "english", stored)
    [asked], [passage] = embedder.embed([question], query=True), embedder.embed([stored])
    return calibration.closeness(float(asked @ passage), "english", 1)


def test_nearness_means_the_same_with_a_model_whose_texts_are_all_near(embedder: WorkerEmbedder) -> None:
    stored = "We adopted a grey kitten called Minka from the shelter."
    for question, near in (("What is the name of our cat?", True), ("How do I boil eggs?", False)):
        plain = closeness(embedder, question, stored)
        shifted = closeness(Shifted(embedder, 2.0), question, stored)
        assert plain is not None
        assert (plain > 0.2) is near
        assert shifted == pytest.approx(plain, abs=0.01)


def test_a_model_knows_the_languages_whose_texts_it_tells_apart(embedder: WorkerEmbedder) -> None:
    languages = ("english", "german", "russian", "chinese")
    for model in (embedder, Shifted(embedder, 2.0)):
        assert unknown_languages(model, languages) == {"german", "russian", "chinese"}
        calibration = measured(model, "russian", "кот")
        assert calibration.closeness(1.0, "russian", 1) is None
        assert 0.2 < calibration.trust("russian") < 0.8
        assert calibration.trust("german") == 1, "it is not measured yet"
    assert measured(embedder, "english", "cat").trust("english") == 1
    assert unknown_languages(embedder, ["a language without probes"]) == set()


def test_a_gguf_measures_like_the_model_it_was_made_of(
    minilm: Callable[[str], Path], embedder: WorkerEmbedder
) -> None:
    from stevemin_chat.base import MemorySection, Paths
    from stevemin_chat.models import configured_embedder

    gguf = configured_embedder(Paths.resolve(), MemorySection(embedder=str(minilm("embedding"))))
    try:
        for language in ("english", "german"):
            assert spread(gguf, language) == pytest.approx(spread(embedder, language), abs=0.02)
    finally:
        gguf.close()


@pytest.mark.campaign  # loads a model of its own
def test_a_model_that_tells_nothing_apart_knows_no_language(tmp_path: Path) -> None:
    write_sentence_bert(tmp_path / "random")
    model = WorkerEmbedder(folder_model(tmp_path / "random", "random"))
    try:
        assert unknown_languages(model, PROBES) == set(PROBES)
        assert measured(model, "english", "a boat").closeness(1.0, "english", 1) is None
    finally:
        model.close()


def test_it_measures_again_after_another_model_took_over() -> None:
    current = Letters("one")
    calibration = Calibration(lambda: current, lambda text: 0.5)
    calibration.measure(current, "english", 10)
    assert calibration.closeness(0.7, "english", 10) is not None
    current = Letters("two")
    assert calibration.closeness(0.7, "english", 10) is None
