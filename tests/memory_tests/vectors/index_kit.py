"""Stores whose vectors can be watched: what is in which file, and when the index is opened."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from waiting import block_until

from memory import IndexState, Memory
from memory.vectors.index import Index

__all__ = [
    "FAKE_CHROMA",
    "count_openings",
    "files_with",
    "index_of",
    "kill_worker",
    "meanings",
    "ready",
    "tell",
    "worker_of",
]

FAKE_CHROMA = Path(__file__).with_name("fake_chroma")


def tell(memory: Memory, *texts: str) -> str:
    """A chat of these messages; its id."""
    session = memory.create_session()
    for text in texts:
        memory.add_message(session.id, "user", text)
    return session.id


def index_of(memory: Memory) -> Index:
    index = memory._components.vectors._index
    assert index is not None
    return index


def worker_of(memory: Memory) -> int:
    """The process id of the index's worker."""
    worker = index_of(memory)._worker
    assert worker is not None
    return worker.pid


def kill_worker(memory: Memory, number: int = signal.SIGKILL) -> None:
    os.kill(worker_of(memory), number)


def ready(memory: Memory) -> None:
    """Start indexing and wait until the index holds every vector."""
    memory.start_indexing()
    block_until(lambda: memory.index_status().state is IndexState.READY and index_of(memory).complete)


def meanings(memory: Memory, question: str, count: int = 5) -> list[int] | None:
    """The passages that search by meaning finds."""
    found = memory._components.vectors.search(question, count)
    return None if found is None else [number for number, _ in found.passages]


def files_with(folder: Path, patterns: Sequence[bytes]) -> list[str]:
    """Every file below that holds one of these."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if any(pattern in data for pattern in patterns):
                found.append(str(path.relative_to(folder)))
    return sorted(found)


def count_openings(monkeypatch: pytest.MonkeyPatch) -> list[Index]:
    """A list that grows by one whenever an index is opened."""
    openings: list[Index] = []
    start = Index._start

    def counting(index: Index, epoch: str | None) -> None:
        openings.append(index)
        start(index, epoch)

    monkeypatch.setattr(Index, "_start", counting)
    return openings
