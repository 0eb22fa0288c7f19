"""The order of embedding: searches before bulk work, similar lengths together. The worker has no model."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from memory_tests.vectors.embedding_kit import Fake, batches, degrees, fakes, lines
from waiting import block_until


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    with fakes(tmp_path) as make:
        yield make


def test_nothing_starts_before_it_is_needed(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("works")
    assert embedder.embed([]).shape == (0, 2)
    assert embedder.worker_pid is None
    assert not embedder.ready
    assert lines(tmp_path / "starts") == []


def test_start_loads_in_the_background_once(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("works")
    embedder.start()
    embedder.start()
    block_until(lambda: embedder.ready)
    assert degrees(embedder.embed(["30", "7"])) == [30, 7]
    assert len(lines(tmp_path / "starts")) == 1


def test_a_search_runs_after_the_current_batch_and_before_the_next(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("waits-for-a-sign")
    numbers = [str(number) for number in range(100, 170)]
    with ThreadPoolExecutor(3) as pool:
        bulk = pool.submit(embedder.embed, numbers)
        block_until(lambda: len(batches(tmp_path)) == 1)
        searches = [pool.submit(embedder.embed, [text]) for text in ("1", "2")]
        block_until(lambda: len(embedder._searches) == 2)
        (tmp_path / "go").touch()
        assert degrees(bulk.result()) == list(range(100, 170))
        assert [degrees(search.result()) for search in searches] == [[1], [2]]
    first, second, third, *rest = batches(tmp_path)
    assert len(first) <= 32
    assert sorted([second, third]) == [["1"], ["2"]]
    assert [*first, *(text for batch in rest for text in batch)] == numbers


def test_texts_of_like_length_share_a_batch_and_long_ones_do_not(fake: Fake, tmp_path: Path) -> None:
    texts = ["x" * 1500, "1", "y" * 1400, "22", *(str(number) for number in range(100, 140))]
    assert fake("works").embed(texts).shape == (len(texts), 2)
    assert batches(tmp_path) == [
        ["1", "22", *texts[4:34]],
        texts[34:],
        ["y" * 1400],
        ["x" * 1500],
    ]
