"""The order of embedding: searches before bulk work, similar lengths together. The worker has no model."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from memory_tests.vectors.embedding_kit import Fake, batches, degrees, fakes, lines
from waiting import block_until

from memory.errors import EmbedderUnavailable


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
        block_until(lambda: len(embedder._thread._lanes._urgent) == 2)
        (tmp_path / "go").touch()
        assert degrees(bulk.result()) == list(range(100, 170))
        assert [degrees(search.result()) for search in searches] == [[1], [2]]
    first, second, *rest = batches(tmp_path)
    assert len(first) <= 32
    assert sorted(second) == ["1", "2"]  # both were queued, so they share a batch
    assert [*first, *(text for batch in rest for text in batch)] == numbers


def test_short_lists_share_a_batch_and_long_texts_do_not(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("waits-for-a-sign")
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(embedder.embed, ["1"])]
        block_until(lambda: len(batches(tmp_path)) == 1)
        calls += [pool.submit(embedder.embed, ["1", "2"]) for _ in range(4)]
        block_until(lambda: len(embedder._thread._lanes._bulk) == 8)
        calls += [pool.submit(embedder.embed, ["x" * 1500, "y" * 1400])]
        block_until(lambda: len(embedder._thread._lanes._bulk) == 10)
        (tmp_path / "go").touch()
        wait(calls)
    assert [len(batch) for batch in batches(tmp_path)] == [1, 8, 1, 1]


def test_a_call_that_times_out_is_dropped(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("waits-for-a-sign")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(embedder.embed, ["1"])
        block_until(lambda: len(batches(tmp_path)) == 1)
        with pytest.raises(EmbedderUnavailable, match=r"within 0\.01 s"):
            embedder.embed(["2", "3"], timeout=0.01)
        (tmp_path / "go").touch()
        running.result()
    assert degrees(embedder.embed(["4", "5"])) == [4, 5]
    assert batches(tmp_path) == [["1"], ["4", "5"]]
