"""Vectors with recognisable bytes, and the files of a vector index."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from memory.ports import VectorIndex, Vectors
from memory.vectors.chroma import ChromaIndex, open_index
from memory.vectors.shards import ShardedIndex

__all__ = [
    "DIMENSION",
    "EMBEDDER",
    "files_with",
    "fill",
    "generations",
    "open_small",
    "planted",
    "random_vectors",
    "trace",
]

DIMENSION = 32
EMBEDDER = "tiny-model/mean"
_MARKED = 16  # numbers of ±1/4: exactly of length 1, so that no normalisation changes a bit


def open_small(
    folder: Path, *, embedder: str = EMBEDDER, url: str | None = None, store: str = "mine"
) -> ChromaIndex:
    return open_index(folder, store=store, embedder=embedder, dimension=DIMENSION, url=url)


def random_vectors(count: int, seed: int = 0) -> Vectors:
    vectors: Vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def planted(pattern: int) -> Vectors:
    """A vector of length 1 whose bytes no other vector has."""
    signs = [1.0 if pattern >> bit & 1 else -1.0 for bit in range(_MARKED)]
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[:_MARKED] = np.array(signs, dtype=np.float32) / 4
    return vector


def trace(vector: Vectors) -> bytes:
    return vector[:_MARKED].tobytes()


def fill(
    index: VectorIndex | ShardedIndex, count: int, *, canary: int, pattern: int = 0xA5C3, first: int = 1
) -> Vectors:
    """Add random vectors under `first`, `first` + 1, …, with the planted one under `canary`."""
    vectors = random_vectors(count)
    vectors[canary - first] = planted(pattern)
    index.add(range(first, first + count), vectors)
    return vectors


def files_with(folder: Path, pattern: bytes) -> list[str]:
    """Every file of the index, its lock included, that holds these bytes."""
    assert folder.is_dir()
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if pattern in path.read_bytes())


def generations(folder: Path) -> dict[int, str]:
    told = json.loads((folder / "current.json").read_text())
    return {int(shard): name for shard, name in told["shards"].items()}
