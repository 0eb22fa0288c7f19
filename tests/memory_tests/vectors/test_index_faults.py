"""Real Chroma under faults: killed processes, damaged search graphs, full disks."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

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

import memory.vectors.chroma
from memory.errors import IndexUnavailable
from memory.vectors.chroma import ChromaIndex
from memory.vectors.folder import IndexFolder
from memory.vectors.index_process import IndexProcess, IndexSpec
from memory.vectors.shards import LAYOUT, ShardedIndex

ROOT = Path(__file__).parents[3]
CANARY = 17
PATTERN = trace(planted(0xA5C3))

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and permissions")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory" / "index"


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory") / "index"


@pytest.fixture(scope="module")
def opened(shared_folder: Path) -> Iterator[ChromaIndex]:
    # A start takes a second, and every test kills a process: each reuses the restarted one.
    index = open_small(shared_folder)
    yield index
    index.close()


@pytest.fixture
def index(opened: ChromaIndex) -> ChromaIndex:
    opened.clear()
    opened._deaths = 0
    return opened


@pytest.fixture(autouse=True)
def no_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that answers again was restarted immediately, not by a later retry."""
    monkeypatch.setattr(memory.vectors.chroma, "_RETRY_S", 600.0)


def worker(index: ChromaIndex) -> int:
    assert index._process is not None
    return index._process.pid


def kill_worker(index: ChromaIndex) -> None:
    os.kill(worker(index), signal.SIGKILL)


def serves(index: ChromaIndex) -> bool:
    with contextlib.suppress(IndexUnavailable):
        return bool(index.search(planted(0xA5C3), 1))
    return False


@needs_posix
def test_a_worker_that_dies_is_replaced_and_loses_nothing(index: ChromaIndex) -> None:
    fill(index, 1_100, canary=CANARY)
    kill_worker(index)
    with pytest.raises(IndexUnavailable, match="stopped answering; searching by keywords only"):
        index.search(planted(0xA5C3), 1)
    block_until(lambda: serves(index))
    assert not index.rebuilt
    assert index.ids() == set(range(1, 1_101))
    assert index.search(planted(0xA5C3), 1) == [(CANARY, pytest.approx(1.0))]


def run(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *args], cwd=ROOT, stdout=subprocess.PIPE, text=True)


_CHAT = """
import sys, time
from pathlib import Path
sys.path.insert(0, "tests")
from memory_tests.vectors.index_kit import fill, open_small
index = open_small(Path(sys.argv[1]))
fill(index, 20, canary=17)
print("filled", flush=True)
time.sleep(600)
"""


@needs_posix
def test_a_chat_that_is_killed_leaves_a_clean_folder(folder: Path) -> None:
    command = [sys.executable, "-c", _CHAT, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as chat:
        assert chat.stdout is not None
        assert chat.stdout.readline() == "filled\n"
        assert not (folder / "clean").exists()
        chat.kill()
    block_until(lambda: (folder / "clean").exists())
    collection = json.loads((folder / "current.json").read_text())["collection"]
    with closing(ShardedIndex(IndexFolder(folder, collection))) as index:
        assert not index.rebuilt
        assert index.ids() == set(range(1, 21))
    assert generations(folder) == {0: "gen-0001"}, "nothing had to be copied"


@needs_posix
def test_a_search_graph_that_crashes_its_process_does_not_crash_the_chat(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = IndexSpec(folder, EMBEDDER, DIMENSION).collection("passages", LAYOUT)
    with closing(ShardedIndex(IndexFolder(folder, collection))) as made:
        fill(made, 1_100, canary=CANARY)
    [graph] = folder.rglob("data_level0.bin")
    graph.write_bytes(random.Random(1).randbytes(graph.stat().st_size))
    ended: list[int | None] = []
    stop = IndexProcess.stop

    def stopping(process: IndexProcess) -> None:
        stop(process)
        ended.append(process._process.returncode)

    with monkeypatch.context() as patch:
        patch.setattr(IndexProcess, "stop", stopping)
        index = open_small(folder)
    assert ended == [-signal.SIGSEGV], "this graph would prove nothing"
    assert index.rebuilt
    vectors = fill(index, 30, canary=CANARY)
    assert index.ids() == set(range(1, 31))
    assert index.search(vectors[3], 1) == [(4, pytest.approx(1.0, abs=1e-5))]
    index.close()


@needs_posix
def test_a_worker_killed_while_removing(index: ChromaIndex, shared_folder: Path) -> None:
    fill(index, 3_000, canary=CANARY)
    failures: list[IndexUnavailable] = []

    def remove() -> None:
        try:
            index.remove([CANARY])
        except IndexUnavailable as exc:
            failures.append(exc)

    removing = threading.Thread(target=remove)
    removing.start()
    block_until(lambda: len(list(shared_folder.glob("gen-*"))) == 2 or not removing.is_alive())
    kill_worker(index)
    removing.join()
    assert failures, "it was done before it could be killed"
    block_until(lambda: serves(index))
    assert not index.rebuilt
    assert index.ids() >= set(range(1, 3_001)) - {CANARY}
    assert len(list(shared_folder.glob("gen-*"))) == 1
    assert bool(files_with(shared_folder, PATTERN)) is (CANARY in index.ids())


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process")
def test_a_disk_that_refuses_more_still_forgets(index: ChromaIndex, shared_folder: Path) -> None:
    import resource

    fill(index, 1_100, canary=CANARY)
    index.add([40_000], random_vectors(1))
    hard = resource.prlimit(worker(index), resource.RLIMIT_FSIZE)[1]
    resource.prlimit(worker(index), resource.RLIMIT_FSIZE, (60_000, hard))
    with pytest.raises(IndexUnavailable, match=r"^[^\n]*\.$"):
        index.add(range(2_000, 3_000), random_vectors(1_000))
    with pytest.raises(IndexUnavailable, match="had to be emptied"):
        index.remove([CANARY])
    assert files_with(shared_folder, PATTERN) == []
    assert index.ids() == {40_000}
    resource.prlimit(worker(index), resource.RLIMIT_FSIZE, (hard, hard))
    fill(index, 20, canary=CANARY)
    assert index.ids() == {*range(1, 21), 40_000}


_AS_NOBODY = """
import os, sys
from pathlib import Path
from memory.errors import IndexUnavailable
from memory.vectors.folder import IndexFolder
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    IndexFolder(Path(sys.argv[1]), "passages-test")
except IndexUnavailable as exc:
    print(exc)
else:
    print("opened")
"""


@needs_posix
def test_a_folder_that_cannot_be_written() -> None:
    # Not tmp_path: root drops its rights here, and no other user may enter that folder.
    with tempfile.TemporaryDirectory(prefix="stevemin-test-") as name:
        Path(name).chmod(0o555)
        said, _ = run(_AS_NOBODY, f"{name}/index").communicate(timeout=60)
    assert said.strip() == (
        f"The vector index {name}/index cannot be written: Permission denied. "
        "Check the folder, its permissions and the free space."
    )
