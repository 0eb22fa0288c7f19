"""Search by meaning. A passage's vector lies beside its text in SQLite; this room makes it and finds it.

Two worker processes: one embeds texts, one holds the fast index (Chroma). The index is a copy of the stored
vectors and nothing else: it is deleted when it is foreign, damaged or holds what was forgotten, and filled
again from the store. Until it is complete, and in a process that does not own it, a search reads the stored
vectors. Importing the room is cheap: what needs numpy is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memory.vectors.index import Index
from memory.vectors.model import (
    EmbeddingModel,
    Prefixes,
    cross_encoder_folder,
    find_model,
    fingerprint,
    folder_model,
    named,
    usual_prefixes,
)
from memory.vectors.passages import PassageVectors, TimeLimit
from memory.vectors.supervisor import program
from memory.vectors.switching import Embedders, Reopen

if TYPE_CHECKING:
    from memory.vectors.embedder import WorkerEmbedder
    from memory.vectors.reranker import WorkerReranker
    from memory.vectors.workers.embedding import RERANK, Embed, serve

__all__ = [
    "RERANK",
    "Embed",
    "Embedders",
    "EmbeddingModel",
    "Index",
    "PassageVectors",
    "Prefixes",
    "Reopen",
    "TimeLimit",
    "WorkerEmbedder",
    "WorkerReranker",
    "cross_encoder_folder",
    "find_model",
    "fingerprint",
    "folder_model",
    "named",
    "program",
    "serve",
    "usual_prefixes",
]

_LAZY = {
    "Embed": "memory.vectors.workers.embedding",
    "RERANK": "memory.vectors.workers.embedding",
    "WorkerEmbedder": "memory.vectors.embedder",
    "WorkerReranker": "memory.vectors.reranker",
    "serve": "memory.vectors.workers.embedding",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
