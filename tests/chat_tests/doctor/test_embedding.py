"""What the doctor says about the embedding model, with the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_bert import write_cross_encoder

from memory import Memory
from stevemin_chat.base import Paths
from stevemin_chat.doctor import Check, examine

GERMAN = "Ich habe gestern mit meiner Schwester über die Reise nach Rom und den Zug gesprochen."
ENGLISH = "I talked with my sister about the train and the trip to Rome."


@pytest.fixture
def paths(stevemin_home: Path) -> Paths:
    paths = Paths.resolve()
    paths.config.mkdir(parents=True)
    return paths


def store(paths: Paths, *texts: str) -> None:
    with Memory(paths.database) as memory:
        session = memory.create_session()
        for number, text in enumerate(texts):
            memory.add_message(session.id, "user", f"{text} {number}")


def found(paths: Paths) -> Check:
    return next(check for check in examine(paths) if check.id == "embedder")


def test_most_is_in_a_language_that_the_model_does_not_know(paths: Paths) -> None:
    store(paths, *[GERMAN] * 20, *[ENGLISH] * 5)
    check = found(paths)
    assert check.status == "warn"
    assert "all-MiniLM-L6-v2, 384 numbers" in check.found
    assert "80% of what is stored is in a language that it does not know (German)" in check.found
    assert "hf download intfloat/multilingual-e5-small" in check.mend
    assert 'embedder = "intfloat/multilingual-e5-small" under [memory] in' in check.mend
    assert str(paths.config_file) in check.mend


@pytest.mark.campaign  # the test above loads the model, too
def test_most_is_in_a_language_that_the_model_knows(paths: Paths) -> None:
    store(paths, *[GERMAN] * 5, *[ENGLISH] * 20)
    check = found(paths)
    assert (check.status, check.mend) == ("ok", "")


def test_a_few_passages_load_no_model(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.embedder.Worker", None)
    assert found(paths).status == "ok"
    store(paths, GERMAN)
    assert found(paths).status == "ok"


def test_a_model_that_is_not_here(paths: Paths) -> None:
    paths.config_file.write_text('[memory]\nembedder = "/nowhere/model"\n')
    check = found(paths)
    assert check.status == "warn"
    assert check.found.startswith("search is by words only: There is no file or folder /nowhere/model")
    assert f"embedder under [memory] in {paths.config_file}" in check.mend


def test_a_model_that_cannot_be_loaded(paths: Paths, starter_model: Path, minilm: object) -> None:
    assert callable(minilm)
    half = paths.config / "half.gguf"
    half.write_bytes(minilm("embedding").read_bytes()[: 20 << 20])
    paths.config_file.write_text('[memory]\nembedder = "half.gguf"\n')
    store(paths, *[ENGLISH] * 20)
    check = found(paths)
    assert check.status == "warn"
    assert "half, 384 numbers for a text: The embedding model failed twice" in check.found


def test_a_reranker_is_checked_if_there_is_one(paths: Paths, tmp_path: Path) -> None:
    def checked() -> list[tuple[str, str]]:
        return [(check.status, check.found) for check in examine(paths) if check.id == "reranker"]

    assert checked() == []
    paths.config_file.write_text('[memory]\nreranker = "/nowhere"\n')
    assert checked() == [("warn", "There is no file or folder /nowhere.")]
    write_cross_encoder(tmp_path / "cross")
    paths.config_file.write_text(f'[memory]\nreranker = "{tmp_path / "cross"}"\n')
    assert checked() == [("ok", str(tmp_path / "cross"))]
