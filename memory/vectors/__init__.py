"""Search by meaning: the embedding model, the vector index, and the thread that keeps the two in step.

Owns both worker processes and every file of the index; all of it is derived from the store and can be
deleted. Importing the room is cheap: the classes that need numpy load it when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memory.vectors.passage_vectors import PassageVectors

if TYPE_CHECKING:
    from memory.vectors.chroma import open_index
    from memory.vectors.embedder import WorkerEmbedder

__all__ = ["PassageVectors", "WorkerEmbedder", "open_index"]


_LAZY = {"WorkerEmbedder": "memory.vectors.embedder", "open_index": "memory.vectors.chroma"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
