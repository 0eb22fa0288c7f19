"""The vector index on a Chroma server that works or is absent. One that hangs: test_index_process.py."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_tests.vectors.index_kit import files_with, fill, open_small, planted, random_vectors, trace
from waiting import block_until

from memory.errors import IndexUnavailable

CANARY = 17
PATTERN = trace(planted(0xA5C3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory" / "index"


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
        block_until(up)
        yield url
    finally:
        process.kill()
        process.wait()


def test_an_index_on_a_server(server: str, folder: Path, tmp_path: Path) -> None:
    (folder / "gen-0007").mkdir(parents=True)
    (folder / "gen-0007" / "left").write_bytes(PATTERN)
    mine = open_small(folder, url=server)
    other = open_small(tmp_path / "other", url=server)
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
        ("127.0.0.1:8000", "is not the address of a Chroma server; write it like http://127.0.0.1:8000."),
        ("ftp://127.0.0.1", "is not the address of a Chroma server"),
    ],
)
def test_invalid_server_addresses(folder: Path, url: str, said: str) -> None:
    with pytest.raises(IndexUnavailable) as caught:
        open_small(folder, url=url)
    assert said in str(caught.value)


def test_a_server_that_is_not_there(folder: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(IndexUnavailable, match="Could not connect to a Chroma server") as caught:
        open_small(folder, url=url)
    assert url in str(caught.value)
