"""The vector index on real Chroma: finding, replacing, restarting, and removing every byte."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from memory_tests.vectors.index_kit import (
    DIMENSION,
    EMBEDDER,
    files_with,
    fill,
    generations,
    open_small,
    planted,
    random_vectors,
    trace,
)
from waiting import block_until

from memory.errors import IndexUnavailable
from memory.ports import Vectors
from memory.vectors.chroma import ChromaIndex
from memory.vectors.folder import IndexFolder
from memory.vectors.index_process import IndexSpec
from memory.vectors.shards import LAYOUT, ShardedIndex

CANARY = 17
PATTERN = trace(planted(0xA5C3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory" / "index"


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory") / "index"


@pytest.fixture(scope="module")
def opened(shared_folder: Path) -> Iterator[ChromaIndex]:
    # Opening takes a second or two, so tests share one index where they can.
    index = open_small(shared_folder)
    assert index.rebuilt
    yield index
    index.close()


@pytest.fixture
def index(opened: ChromaIndex) -> ChromaIndex:
    opened.clear()
    return opened


def axis(number: int) -> Vectors:
    vector: Vectors = np.eye(DIMENSION, dtype=np.float32)[number]
    return vector


def test_the_nearest_come_first_with_their_cosine(index: ChromaIndex) -> None:
    assert index.ids() == set()
    assert index.search(axis(0), 5) == []
    between = (axis(0) + axis(1)) / np.sqrt(np.float32(2))
    index.add([7, 8, 9], np.stack([axis(0), between, axis(2)]))
    assert index.ids() == {7, 8, 9}
    found = index.search(axis(0), 10)
    assert [number for number, _ in found] == [7, 8, 9]
    assert [score for _, score in found] == pytest.approx([1.0, 0.5**0.5, 0.0], abs=1e-5)
    assert [number for number, _ in index.search(axis(0), 2)] == [7, 8]
    assert index.search(axis(0), 0) == []


def test_only_some_passages_are_searched(index: ChromaIndex) -> None:
    vectors = fill(index, 300, canary=CANARY)
    for within in ({7, 8, 9}, {7, 20_000}):  # the second is of a shard that does not exist
        found = index.search(vectors[0], 10, within)
        assert [number for number, _ in found][:1] != [1]
        assert {number for number, _ in found} == within - {20_000}
    assert index.search(vectors[0], 10, ()) == []


def test_a_known_id_gets_the_new_vector(index: ChromaIndex) -> None:
    index.add([1, 2], np.stack([axis(0), axis(1)]))
    index.add([1, 3, 3], np.stack([axis(2), axis(4), axis(3)]))
    assert index.ids() == {1, 2, 3}
    assert index.search(axis(2), 1) == [(1, pytest.approx(1.0))]
    assert index.search(axis(3), 1) == [(3, pytest.approx(1.0))]
    assert index.search(axis(0), 1)[0][1] == pytest.approx(0.0, abs=1e-6)
    index.add([], np.zeros((0, DIMENSION), dtype=np.float32))
    index.remove([])
    assert index.ids() == {1, 2, 3}


def test_a_removed_vector_is_in_no_file_any_more(folder: Path) -> None:
    index = open_small(folder)
    vectors = fill(index, 1_100, canary=CANARY)
    before = files_with(folder, PATTERN)
    assert "data_level0.bin" in before, "the search graph was not written yet: this would prove nothing"
    index.remove([CANARY, 999_999])
    assert files_with(folder, PATTERN) == []
    assert index.ids() == set(range(1, 1_101)) - {CANARY}
    assert CANARY not in {number for number, _ in index.search(planted(0xA5C3), 1_100)}
    assert index.search(vectors[499], 1) == [(500, pytest.approx(1.0, abs=1e-5))]
    index.close()
    assert files_with(folder, PATTERN) == []
    collection = IndexSpec(folder, EMBEDDER, DIMENSION).collection("passages", LAYOUT)
    with closing(ShardedIndex(IndexFolder(folder, collection))) as reopened:
        assert not reopened.rebuilt
        assert reopened.ids() == set(range(1, 1_101)) - {CANARY}
    assert files_with(folder, PATTERN) == []


def test_the_vectors_of_another_store_are_deleted(folder: Path) -> None:
    with closing(open_small(folder, store="mine")) as index:
        fill(index, 20, canary=CANARY)
    with closing(open_small(folder, store="mine")) as index:
        assert len(index.ids()) == 20
        assert not index.rebuilt
    with closing(open_small(folder, store="another")) as index:
        assert index.rebuilt
        assert index.ids() == set()
    assert files_with(folder, PATTERN) == []


def test_a_folder_that_names_no_store_is_adopted(folder: Path) -> None:
    with closing(open_small(folder)) as index:
        fill(index, 20, canary=CANARY)
    pointer = folder / "current.json"
    recorded = json.loads(pointer.read_text())
    assert recorded.pop("store") == "mine"
    pointer.write_text(json.dumps(recorded))
    with closing(open_small(folder, store="mine")) as index:
        assert len(index.ids()) == 20
    with closing(open_small(folder, store="another")) as index:
        assert index.ids() == set()


def test_a_vector_that_is_only_in_the_log_is_removed_too(index: ChromaIndex, shared_folder: Path) -> None:
    fill(index, 20, canary=CANARY)
    assert files_with(shared_folder, PATTERN) != []
    index.remove([CANARY])
    assert files_with(shared_folder, PATTERN) == []
    assert len(index.ids()) == 19


def test_no_removed_vector_reappears_from_freed_memory(index: ChromaIndex, shared_folder: Path) -> None:
    # Without the allocator's settings one does within about ten rounds.
    vectors = random_vectors(20)
    vectors[:10] = planted(0xA5C3)
    for _ in range(14):
        index.add(range(1, 21), vectors)
        index.remove(range(1, 11))
        assert files_with(shared_folder, PATTERN) == []


def test_removing_unknown_ids_copies_nothing(index: ChromaIndex, shared_folder: Path) -> None:
    fill(index, 20, canary=CANARY)
    before = generations(shared_folder)
    index.remove([500, 70_000])
    assert generations(shared_folder) == before
    assert len(index.ids()) == 20


def test_only_affected_shards_are_copied(index: ChromaIndex, shared_folder: Path) -> None:
    fill(index, 20, canary=CANARY)
    fill(index, 20, canary=40_005, pattern=0x1234, first=40_000)
    index.add([100_000], axis(31).reshape(1, -1))
    before = generations(shared_folder)
    assert len(before) == 3
    assert [number for number, _ in index.search(planted(0x1234), 1)] == [40_005]
    assert [number for number, _ in index.search(axis(31), 1)] == [100_000]
    index.remove([40_005, 100_000])
    after = generations(shared_folder)
    assert after[0] == before[0]
    assert after[40_000 >> 14] != before[40_000 >> 14]
    assert 100_000 >> 14 not in after, "a shard without passages is deleted"
    assert files_with(shared_folder, trace(planted(0x1234))) == []
    assert sorted(path.name for path in shared_folder.glob("gen-*")) == sorted(after.values())
    assert index.ids() == {*range(1, 21), *range(40_000, 40_020)} - {40_005}


def test_clear_leaves_nothing(index: ChromaIndex, shared_folder: Path) -> None:
    fill(index, 20, canary=CANARY)
    index.clear()
    assert index.ids() == set()
    assert files_with(shared_folder, PATTERN) == []
    index.add([1], axis(0).reshape(1, -1))
    assert index.ids() == {1}


def test_each_embedder_has_its_own_collection() -> None:
    specs = [
        IndexSpec(Path("/index"), embedder, dimension)
        for embedder, dimension in [(EMBEDDER, 32), (EMBEDDER, 8), ("another model", 32)]
    ]
    names = {spec.collection("passages") for spec in specs}
    assert len(names) == 3
    assert all(re.fullmatch(r"[a-z0-9-]{3,63}", name) for name in names), "Chroma refuses other names"
    assert specs[0].collection("passages", "layout 2") not in names


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_old_generations_are_closed(index: ChromaIndex) -> None:
    fill(index, 1_100, canary=CANARY)
    assert index._process is not None
    files = Path(f"/proc/{index._process.pid}/fd")

    def old() -> list[str]:
        targets = (os.readlink(file) for file in files.iterdir())
        return [target for target in targets if "(deleted)" in target and "gen-" in target]

    def count() -> int:
        return len(list(files.iterdir()))

    counts = []
    for number in range(100, 1_000, 100):
        index.remove([number])
        index.search(planted(0xA5C3), 3)
        block_until(lambda: not old())  # Chroma closes its connections from a thread,
        counts.append(count())
    assert min(counts[5:]) <= max(counts[:4]), "… and opens others for a moment, but not for every generation"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_files_are_for_their_owner_only(index: ChromaIndex, shared_folder: Path) -> None:
    fill(index, 20, canary=CANARY)
    assert stat.S_IMODE(shared_folder.stat().st_mode) == 0o700
    for path in (shared_folder.with_name("index.lock"), *shared_folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_search_does_not_wait_for_long_work(index: ChromaIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.chroma._SEARCH_WAIT_S", 0.01)
    fill(index, 20, canary=CANARY)
    with index._turn, pytest.raises(IndexUnavailable, match="busy; searching by keywords only"):
        index.search(planted(0xA5C3), 1)
    assert index.search(planted(0xA5C3), 1) == [(CANARY, pytest.approx(1.0))]


@pytest.mark.parametrize(
    "vectors",
    [np.zeros((2, DIMENSION + 1)), np.zeros((3, DIMENSION)), np.full((2, DIMENSION), np.nan)],
    ids=["longer", "more", "not a number"],
)
def test_invalid_vectors_are_refused(index: ChromaIndex, vectors: Vectors) -> None:
    with pytest.raises(IndexUnavailable, match=r"takes vectors of shape \(2, 32\)|is not finite"):
        index.add([1, 2], vectors.astype(np.float32))
    assert index.ids() == set()


def test_odd_folder_names_and_foreign_settings_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHROMA_API_IMPL", "chromadb.api.fastapi.FastAPI")
    monkeypatch.setenv("IS_PERSISTENT", "perhaps")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("MIGRATIONS=banana\n")
    folder = tmp_path / "größe 100% a?b#c"
    index = open_small(folder)
    fill(index, 3, canary=2)
    assert index.ids() == {1, 2, 3}
    assert generations(folder) == {0: "gen-0001"}
    index.close()
    assert {path.name for path in tmp_path.iterdir()} == {".env", folder.name, f"{folder.name}.lock"}
