"""Shards and generations: which are valid, what is copied, and what a crash or damage leaves.

In this process; whether removed vectors are in no file is tested in the worker, whose allocator forgets.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from memory_tests.vectors.index_kit import files_with, fill, generations, planted, random_vectors, trace

from memory.errors import IndexUnavailable
from memory.vectors.collections import PassageCollection
from memory.vectors.folder import IndexFolder
from memory.vectors.shards import SHARD_SIZE, ShardedIndex

CANARY = 17
PATTERN = trace(planted(0xA5C3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory" / "index"


def opened(folder: Path, collection: str = "passages-test") -> ShardedIndex:
    return ShardedIndex(IndexFolder(folder, collection))


def abandoned(index: ShardedIndex) -> None:
    """Simulate the end of its process: no clean mark, and the lock is free."""
    for shard in index._shards.values():
        shard.close()
    index._folder.close()


def scramble(folder: Path, shard: int, name: str) -> None:
    found = list((folder / generations(folder)[shard]).rglob(name))
    assert found, f"shard {shard} has no {name}"
    for path in found:
        path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


def test_it_finds_what_brute_force_finds_also_after_a_restart(folder: Path) -> None:
    # Ids from two shards, so that their results are merged.
    ids = np.arange(2_500) * 8
    vectors, queries = random_vectors(2_500), random_vectors(40, seed=1)
    best = ids[np.argsort(-(queries @ vectors.T), axis=1)[:, :10]]
    index = opened(folder)
    index.add(ids.tolist(), vectors)
    assert len(generations(folder)) == 2
    before = [index.search(query, 10) for query in queries]
    index.close()
    index = opened(folder)
    after = [index.search(query, 10) for query in queries]
    assert not index.rebuilt
    index.close()
    for found in (before, after):
        hits = [len({number for number, _ in one} & set(row)) for one, row in zip(found, best, strict=True)]
        assert sum(hits) >= 0.97 * best.size
        assert sum(one[0][0] == row[0] for one, row in zip(found, best, strict=True)) >= 39
    scores = [score for _, score in after[0]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(float(np.max(vectors @ queries[0])), abs=1e-5)


def test_vectors_of_another_collection_are_deleted(folder: Path) -> None:
    index = opened(folder)
    fill(index, 20, canary=CANARY)
    index.close()
    index = opened(folder, "passages-other")
    assert index.rebuilt
    assert index.ids() == set()
    assert files_with(folder, PATTERN) == []
    index.close()


class Crash(BaseException):
    """A crash that nothing cleans up after."""


@pytest.mark.parametrize(
    ("owner", "name", "call", "removed"),
    [
        pytest.param(PassageCollection, "add", 2, False, id="half of the copy"),
        pytest.param(IndexFolder, "commit", 1, False, id="before the switch"),
        pytest.param(IndexFolder, "sweep", 1, True, id="after the switch"),
        pytest.param(os, "unlink", 2, True, id="half of the deletion"),
    ],
)
def test_a_crash_in_a_removal_leaves_one_valid_state(
    folder: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int, removed: bool
) -> None:
    index = opened(folder)
    fill(index, 1_100, canary=CANARY)
    real, calls = getattr(owner, name), []

    def crash(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) == call:
            raise Crash
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, crash)
        with pytest.raises(Crash):
            index.remove([CANARY])
    abandoned(index)
    assert len(list(folder.glob("gen-*"))) == 2
    index = opened(folder)
    assert not index.rebuilt
    assert index.ids() == set(range(1, 1_101)) - ({CANARY} if removed else set())
    assert [path.name for path in folder.glob("gen-*")] == [generations(folder)[0]]
    index.remove([CANARY])
    assert index.ids() == set(range(1, 1_101)) - {CANARY}
    index.close()


def test_a_failed_removal_empties_the_affected_shards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = opened(folder)
    fill(index, 20, canary=CANARY)
    index.add([SHARD_SIZE], random_vectors(1))

    def refuse(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(PassageCollection, "add", refuse)
        with pytest.raises(IndexUnavailable, match="had to be emptied to remove passages"):
            index.remove([CANARY])
    assert files_with(folder, PATTERN) == []
    assert index.ids() == {SHARD_SIZE}
    fill(index, 20, canary=CANARY)
    assert index.ids() == {*range(1, 21), SHARD_SIZE}
    index.close()


def test_what_a_failed_addition_left_behind_is_removed_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(folder)
    fill(index, 20, canary=CANARY)
    with monkeypatch.context() as patch:
        # The vector is in the files, but is not listed.
        patch.setattr(PassageCollection, "ids", lambda _: set(range(1, 21)) - {CANARY})
        index.remove([CANARY])
        assert generations(folder) == {0: "gen-0001"}
        patch.setattr(index, "_sound", False)
        index.remove([CANARY])
    assert generations(folder) == {0: "gen-0002"}
    assert index.ids() == set(range(1, 21)) - {CANARY}
    index.close()


def test_a_chroma_error_counts_as_an_unclean_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = opened(folder)
    fill(index, 20, canary=CANARY)

    def refuse(*_: object) -> None:
        raise RuntimeError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(PassageCollection, "add", refuse)
        with pytest.raises(RuntimeError):
            index.add([21], random_vectors(1))
    index.close()
    before = generations(folder)
    index = opened(folder)
    assert not index.rebuilt
    assert index.ids() == set(range(1, 21))
    assert generations(folder) != before, "the files should have been made anew"
    index.close()


def test_damaged_shards_are_dropped_and_the_others_stay(folder: Path) -> None:
    index = opened(folder)
    for shard in range(5):
        fill(index, 1_000, canary=shard * SHARD_SIZE, first=shard * SHARD_SIZE)
    index.close()
    for shard, name in enumerate(["header.bin", "index_metadata.pickle", "chroma.sqlite3"]):
        scramble(folder, shard, name)
    shutil.rmtree(folder / generations(folder)[3])
    index = opened(folder)
    assert index.rebuilt
    assert index.ids() == set(range(4 * SHARD_SIZE, 4 * SHARD_SIZE + 1_000))
    assert len(list(folder.glob("gen-*"))) == 1
    fill(index, 30, canary=CANARY)
    assert len(index.ids()) == 1_030
    index.close()


def test_after_an_unclean_end_vectors_are_checked_and_graphs_rebuilt(folder: Path) -> None:
    index = opened(folder)
    fill(index, 1_100, canary=CANARY)
    fill(index, 20, canary=SHARD_SIZE, first=SHARD_SIZE)
    abandoned(index)
    [graph] = (folder / generations(folder)[0]).rglob("data_level0.bin")
    graph.write_bytes(graph.read_bytes().replace(PATTERN, trace(4 * planted(0xA5C3))))
    before = generations(folder)
    index = opened(folder)
    assert index.rebuilt
    assert index.ids() == set(range(SHARD_SIZE, SHARD_SIZE + 20))
    assert before[1] not in {path.name for path in folder.glob("gen-*")}
    index.close()


def test_a_copy_without_room_waits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = opened(folder)
    fill(index, 20, canary=CANARY)
    abandoned(index)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
        locked = IndexFolder(folder, "passages-test")
        with pytest.raises(IndexUnavailable, match="Free some space and try again"):
            ShardedIndex(locked)
        locked.close()
    index = opened(folder)
    assert not index.rebuilt
    assert index.ids() == set(range(1, 21))
    index.close()


@pytest.mark.parametrize(
    "told",
    [
        '{"collection": 7, "shards": "gone"}',
        '{"collection": "passages-test", "shards": {"0": "../.."}}',
        "\x00",
    ],
)
def test_an_invalid_pointer_file(folder: Path, told: str) -> None:
    index = opened(folder)
    fill(index, 20, canary=CANARY)
    index.close()
    (folder / "current.json").write_text(told)
    index = opened(folder)
    assert index.rebuilt
    assert index.ids() == set()
    assert files_with(folder, PATTERN) == []
    index.close()


def test_a_file_in_place_of_the_folder(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a shopping list")
    with pytest.raises(IndexUnavailable, match="cannot be written: File exists"):
        IndexFolder(folder, "passages-test")
    assert folder.read_text() == "a shopping list"
