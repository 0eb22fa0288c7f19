"""Vectors as the store keeps them, 16-bit floats, and the exact search that reads them all."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from memory.ports import Vectors
from memory.storage import Database, StoredVector, StoredVectors

__all__ = ["scan", "to_bytes", "to_matrix"]

_FORMAT = np.dtype("<f2")  # rounds a cosine by a ten-thousandth, and halves what a search must read
_BATCH = 2_000  # vectors: between two batches the one database thread serves others


def to_bytes(vectors: Vectors) -> list[bytes]:
    """Each row as the store keeps it."""
    return [row.tobytes() for row in vectors.astype(_FORMAT)]


def to_matrix(stored: Sequence[StoredVector], dimension: int) -> tuple[list[StoredVector], Vectors]:
    """Those of the right length, and their rows: float32, (vectors, dimension)."""
    sound = [vector for vector in stored if len(vector.data) == dimension * _FORMAT.itemsize]
    rows = np.frombuffer(b"".join(vector.data for vector in sound), _FORMAT)
    return sound, rows.reshape(len(sound), dimension).astype(np.float32)


def scan(
    database: Database,
    vectors: StoredVectors,
    embedder: str,
    question: Vectors,
    count: int,
    within: Collection[int] | None = None,
    hidden: Collection[int] = (),
) -> list[tuple[int, float]]:
    """The passages nearest to a question with their cosine similarity, the most similar first.

    Args:
        embedder: the name of the one that made the question's vector.
        within: only these passages; None: all.
        hidden: chats whose passages do not count.
    """

    def batches() -> Iterator[list[StoredVector]]:
        if within is not None:
            ids = sorted(within)
            for start in range(0, len(ids), _BATCH):
                yield database.call(vectors.get, embedder, ids[start : start + _BATCH])
            return
        last = 0
        while batch := database.call(vectors.scan, embedder, last, _BATCH, hidden=hidden):
            yield batch
            last = batch[-1].passage

    best: list[tuple[int, float]] = []
    for batch in batches():
        sound, matrix = to_matrix(batch, len(question))
        scores = matrix @ question
        nearest = np.argsort(-scores)[:count]
        best += [(sound[row].passage, float(scores[row])) for row in nearest]
        best = heapq.nlargest(count, best, key=lambda hit: hit[1])
    return best
