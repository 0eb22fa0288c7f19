"""The index on a Chroma server that works, is absent, or hangs."""

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
from memory_tests.vectors.index_kit import FAKE_CHROMA, files_with, index_of, meanings, ready, tell
from memory_tests.vectors.letters import Signs
from waiting import block_until

from memory import IndexState, Memory

SOME = [f"message {number}" for number in range(30)]


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


def counts(url: str) -> list[int]:
    """How many vectors each collection on the server has."""
    base = f"{url}/api/v2/tenants/default_tenant/databases/default_database/collections"
    with urllib.request.urlopen(base) as got:
        found = json.load(got)
    numbers = []
    for collection in found:
        with urllib.request.urlopen(f"{base}/{collection['id']}/count") as got:
            numbers.append(int(got.read()))
    return sorted(numbers)


def test_an_index_on_a_server(server: str, path: Path, tmp_path: Path) -> None:
    left = path.parent / "vectors" / "gen-0007"
    left.mkdir(parents=True)
    (left / "left").write_bytes(Signs().traces("secret")[1])
    with Memory(path, embedder=Signs(), chroma_url=server) as memory:
        session = tell(memory, *SOME)
        ready(memory)
        assert counts(server) == [30]
        assert files_with(path.parent, Signs().traces("secret")) == [], "nobody forgets in an old folder"
        assert meanings(memory, SOME[20], 1) == [21]
        first, second, third, fourth, fifth, *_ = memory.messages(session)
        assert not memory.long_term.forget([first.id]).pending
        assert counts(server) == [29]
        assert index_of(memory).complete, "nothing had to be filled again"
        assert meanings(memory, SOME[0], 50) != meanings(memory, SOME[0], 1)
        with Memory(path, chroma_url=server) as beside:
            assert beside.long_term.forget([second.id]).pending, "the owner does it"
        memory.long_term.forget([third.id])
        assert counts(server) == [27]
    embedder = Signs()
    with Memory(path, embedder=embedder, chroma_url=server) as memory:
        assert not memory.long_term.forget([fourth.id]).pending
        assert counts(server) == [26]
        assert not embedder.started
    with Memory(path, chroma_url=server) as memory:
        assert memory.long_term.forget([fifth.id]).pending, "which collection it is, the embedder knows"
    with Memory(tmp_path / "other" / "chats.db", embedder=Signs(), chroma_url=server) as other:
        tell(other, "one")
        ready(other)
        assert counts(server) == [1, 26]
    embedder = Signs("another model")
    with Memory(path, embedder=embedder, chroma_url=server) as memory:
        ready(memory)
        assert counts(server) == [1, 25], "the vectors of the first embedder are gone"
        assert meanings(memory, SOME[20], 1) == [21]


def test_a_server_that_is_not_there(path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Memory(path, embedder=Signs(), chroma_url=url) as memory:
        session = tell(memory, *SOME)
        memory.start_indexing()
        block_until(lambda: memory.index_status().state is IndexState.READY)
        assert memory.index_status().embedded == 30
        assert meanings(memory, SOME[20], 1) == [21], "the store answers"
        assert memory.long_term.forget([memory.messages(session)[0].id]).pending


def test_a_server_that_never_answers(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKE_CHROMA))
    monkeypatch.setattr("memory.vectors.index._OPENING_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with Memory(path, embedder=Signs(), chroma_url=url) as memory:
            tell(memory, *SOME)
            memory.start_indexing()
            block_until(lambda: memory.index_status().state is IndexState.READY)
            assert meanings(memory, SOME[20], 1) == [21]
    assert f"The vector index at {url} failed: it did not answer within 1 s" in caplog.text
