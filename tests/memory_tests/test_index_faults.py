"""What can happen to a vector index: killed processes, damaged graphs, full disks, deaf servers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_tests.index_kit import (
    files_with,
    fill,
    generations,
    open_small,
    planted,
    random_vectors,
    trace,
    until,
)

import memory.index
from memory.errors import IndexUnavailable
from memory.index import ChromaIndex

ROOT = Path(__file__).parents[2]
CANARY = 17
PATTERN = trace(planted(0xA5C3))

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and permissions")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory" / "index"


@pytest.fixture
def index(folder: Path) -> Iterator[ChromaIndex]:
    index = open_small(folder)
    yield index
    index.close()


@pytest.fixture(autouse=True)
def no_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is served again was restarted at once, not after a while."""
    monkeypatch.setattr(memory.index, "_RETRY_S", 600.0)


@pytest.fixture(autouse=True)
def quick_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.indexing.watchdog._LOOK_S", 0.05)


def worker(index: ChromaIndex) -> int:
    assert index._process is not None
    return index._process.pid


def kill_worker(index: ChromaIndex) -> None:
    os.kill(worker(index), signal.SIGKILL)


def serves(index: ChromaIndex) -> bool:
    with contextlib.suppress(IndexUnavailable):
        return bool(index.search(planted(0xA5C3), 1))
    return False


def reason(index: ChromaIndex) -> str:
    try:
        index.search(planted(0xA5C3), 1)
    except IndexUnavailable as exc:
        return str(exc)
    return ""


@needs_posix
def test_a_worker_that_dies_is_replaced_and_loses_nothing(index: ChromaIndex) -> None:
    fill(index, 1_100, canary=CANARY)
    kill_worker(index)
    with pytest.raises(IndexUnavailable, match="stopped answering; searching by keywords only"):
        index.search(planted(0xA5C3), 1)
    until(lambda: serves(index))
    assert not index.rebuilt
    assert index.ids() == set(range(1, 1_101))
    assert index.search(planted(0xA5C3), 1) == [(CANARY, pytest.approx(1.0))]


@needs_posix
def test_one_that_dies_again_and_again_starts_empty_and_then_stays_off(
    index: ChromaIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.index, "_MAX_DEATHS", 2)
    for _ in range(2):
        kill_worker(index)
        with pytest.raises(IndexUnavailable, match="stopped answering"):
            index.ids()
        with contextlib.suppress(IndexUnavailable):
            index.ids()
    with pytest.raises(IndexUnavailable, match="stopped 2 times"):
        index.add([1], random_vectors(1))
    monkeypatch.setattr(memory.index, "_MAX_DEATHS", 5)
    assert index.ids() == set()
    assert index.rebuilt


@needs_posix
def test_searches_alone_bring_it_back_when_what_stopped_it_is_mended(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.index, "_RETRY_S", 0.0)
    index = open_small(folder)
    fill(index, 20, canary=CANARY)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "chromadb.py").write_text("import a_module_that_nobody_has\n")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "broken"))
        kill_worker(index)
        assert not serves(index)
        until(lambda: "needs chromadb" in reason(index))
    until(lambda: serves(index))
    assert len(index.ids()) == 20
    index.close()


@needs_posix
def test_a_worker_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = open_small(folder)
    fill(index, 20, canary=CANARY)
    assert index._process is not None
    index._process._silence_s = 0.3
    os.kill(worker(index), signal.SIGSTOP)
    with pytest.raises(IndexUnavailable, match="stopped answering"):
        index.search(planted(0xA5C3), 1)
    until(lambda: serves(index))
    assert len(index.ids()) == 20
    index.close()
    with pytest.raises(IndexUnavailable, match="is closed"):
        index.ids()
    with pytest.raises(IndexUnavailable, match="is closed"):
        index.search(planted(0xA5C3), 1)


def run(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *args], cwd=ROOT, stdout=subprocess.PIPE, text=True)


_CHAT = """
import sys, time
from pathlib import Path
sys.path.insert(0, "tests")
from memory_tests.index_kit import fill, open_small
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
    until(lambda: (folder / "clean").exists(), 20)
    index = open_small(folder)
    assert not index.rebuilt
    assert index.ids() == set(range(1, 21))
    assert generations(folder) == {0: "gen-0001"}, "nothing had to be copied"
    index.close()


_OPEN = """
import sys
from pathlib import Path
from memory.indexing.folder import IndexFolder
from memory.indexing.shards import ShardedIndex
ShardedIndex(IndexFolder(Path(sys.argv[1]), sys.argv[2])).close()
"""


@needs_posix
def test_a_search_graph_that_ends_its_process_does_not_end_the_chat(folder: Path) -> None:
    index = open_small(folder)
    fill(index, 1_100, canary=CANARY)
    index.close()
    [graph] = folder.rglob("data_level0.bin")
    graph.write_bytes(random.Random(1).randbytes(graph.stat().st_size))
    collection = json.loads((folder / "current.json").read_text())["collection"]
    with run(_OPEN, str(folder), collection) as control:
        control.communicate(timeout=60)
    assert control.returncode == -signal.SIGSEGV, "this graph would prove nothing"
    index = open_small(folder)
    assert index.rebuilt
    vectors = fill(index, 30, canary=CANARY)
    assert index.ids() == set(range(1, 31))
    assert index.search(vectors[3], 1) == [(4, pytest.approx(1.0, abs=1e-5))]
    index.close()


@needs_posix
def test_a_worker_killed_while_it_removes(index: ChromaIndex, folder: Path) -> None:
    fill(index, 3_000, canary=CANARY)
    failures: list[IndexUnavailable] = []

    def remove() -> None:
        try:
            index.remove([CANARY])
        except IndexUnavailable as exc:
            failures.append(exc)

    removing = threading.Thread(target=remove)
    removing.start()
    until(lambda: len(list(folder.glob("gen-*"))) == 2 or not removing.is_alive())
    kill_worker(index)
    removing.join()
    assert failures, "it was done before it could be killed"
    until(lambda: serves(index))
    assert not index.rebuilt
    assert index.ids() >= set(range(1, 3_001)) - {CANARY}
    assert len(list(folder.glob("gen-*"))) == 1
    assert bool(files_with(folder, PATTERN)) is (CANARY in index.ids())


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process")
def test_a_disk_that_refuses_more_still_forgets(index: ChromaIndex, folder: Path) -> None:
    import resource

    fill(index, 1_100, canary=CANARY)
    index.add([40_000], random_vectors(1))
    hard = resource.prlimit(worker(index), resource.RLIMIT_FSIZE)[1]
    resource.prlimit(worker(index), resource.RLIMIT_FSIZE, (60_000, hard))
    with pytest.raises(IndexUnavailable, match=r"^[^\n]*\.$"):
        index.add(range(2_000, 3_000), random_vectors(1_000))
    with pytest.raises(IndexUnavailable, match="had to be emptied"):
        index.remove([CANARY])
    assert files_with(folder, PATTERN) == []
    assert index.ids() == {40_000}
    resource.prlimit(worker(index), resource.RLIMIT_FSIZE, (hard, hard))
    fill(index, 20, canary=CANARY)
    assert index.ids() == {*range(1, 21), 40_000}


_AS_NOBODY = """
import os, sys
from pathlib import Path
from memory.errors import IndexUnavailable
from memory.indexing.folder import IndexFolder
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
    # Not tmp_path: root gives up its rights here, and nobody else may enter that one.
    with tempfile.TemporaryDirectory(prefix="stevemin-test-") as name:
        Path(name).chmod(0o555)
        said, _ = run(_AS_NOBODY, f"{name}/index").communicate(timeout=60)
    assert said.strip() == (
        f"The vector index {name}/index cannot be written: Permission denied. "
        "Check the folder, its permissions and the free space."
    )


def test_chromadb_that_cannot_be_loaded_costs_no_data(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "gen-0001").mkdir(parents=True)
    (folder / "gen-0001" / "chroma.sqlite3").write_text("all vectors")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "chromadb.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    with pytest.raises(IndexUnavailable, match="needs chromadb, which cannot be loaded: No module named"):
        open_small(folder)
    (broken / "chromadb.py").write_text("import os\nos._exit(3)\n")
    with pytest.raises(IndexUnavailable, match="does not start"):
        open_small(folder)
    assert (folder / "gen-0001" / "chroma.sqlite3").read_text() == "all vectors"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real Chroma server on loopback."""
    port = free_port()
    code = "import sys; from chromadb_rust_bindings import cli; cli(['chroma', 'run', *sys.argv[1:]])"
    command = [sys.executable, "-c", code, "--path", str(tmp_path / "served"), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/api/v2/heartbeat", timeout=1):
            return True
        return False

    try:
        until(up, 30)
        yield url
    finally:
        process.kill()
        process.wait()


def test_an_index_on_a_server(server: str, folder: Path, tmp_path: Path) -> None:
    (folder / "gen-0007").mkdir(parents=True)
    (folder / "gen-0007" / "left").write_bytes(PATTERN)
    mine, other = open_small(folder, url=server), open_small(tmp_path / "other", url=server)
    assert mine.rebuilt
    assert files_with(folder, PATTERN) == [], "nobody takes forgotten vectors out of an old folder"
    assert mine.search(planted(0xA5C3), 5) == []
    vectors = fill(mine, 20, canary=CANARY)
    other.add([CANARY], random_vectors(1, seed=5))
    assert mine.search(vectors[4], 1) == [(5, pytest.approx(1.0, abs=1e-5))]
    assert len(mine.search(vectors[4], 50)) == 20
    mine.remove([CANARY])
    assert mine.ids() == set(range(1, 21)) - {CANARY}
    mine.clear()
    assert mine.ids() == set()
    mine.add([4], random_vectors(1))
    mine.close()
    mine = open_small(folder, url=server, embedder="another model")
    assert mine.rebuilt
    assert mine.ids() == set()
    assert other.ids() == {CANARY}
    mine.close()
    other.close()
    with urllib.request.urlopen(
        f"{server}/api/v2/tenants/default_tenant/databases/default_database/collections"
    ) as got:
        assert len(json.load(got)) == 2, "the collection of the first embedder is gone"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1:8000", "is no address of a Chroma server; it looks like http://127.0.0.1:8000."),
        ("ftp://127.0.0.1", "is no address of a Chroma server"),
    ],
)
def test_what_is_no_address(folder: Path, url: str, said: str) -> None:
    with pytest.raises(IndexUnavailable) as caught:
        open_small(folder, url=url)
    assert said in str(caught.value)


def test_a_server_that_is_not_there(folder: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(IndexUnavailable, match="Could not connect to a Chroma server") as caught:
        open_small(folder, url=url)
    assert url in str(caught.value)


def test_a_server_that_never_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.index, "_SERVER_SILENCE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(IndexUnavailable, match="does not answer"):
            open_small(folder, url=url)
