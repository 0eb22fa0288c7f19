"""The memory as commands open it: for a moment, beside a chat that may be running."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from memory import EmbedderUnavailable, IndexState, Memory
from stevemin_chat.base import begin

if TYPE_CHECKING:
    from memory import Embedder, IndexStatus

__all__ = ["installed_embedder", "installed_embedder_or_none", "open_memory", "wait_for_meaning"]

_POLL_S = 0.1
_ENOUGH = 0.9  # share of the passages: the newest come first, and a first run may take an hour


@contextmanager
def open_memory(embedder: Embedder | None = None) -> Iterator[Memory]:
    """The store of the data folder.

    Args:
        embedder: lets vectors be searched, and taken out of their files; its model is not loaded for that
            before something is searched.

    Raises:
        ConfigFileError, FolderNotWritable, memory.StoreError: it cannot be opened.
    """
    paths, config = begin()
    paths.prepare()
    with Memory(
        paths.database,
        embedder=embedder,
        chroma_url=config.memory.chroma_url,
        remembering=None if config.memory.enabled else False,
    ) as memory:
        memory.recover_interrupted()
        yield memory


def installed_embedder() -> Embedder:
    """What turns texts into vectors; nothing of it runs yet.

    Raises:
        memory.EmbedderUnavailable: its packages are not installed.
    """
    from memory.vectors import WorkerEmbedder

    return WorkerEmbedder()


def installed_embedder_or_none() -> Embedder | None:
    """None where its packages are missing: taking vectors out is then left to a stevemin that has them."""
    try:
        return installed_embedder()
    except EmbedderUnavailable:
        return None


def wait_for_meaning(memory: Memory, embedder: Embedder, show: Callable[[str], None]) -> str | None:
    """Load the embedding model and wait until nearly all passages have a vector. Blocks.

    Args:
        show: told how far it is.

    Returns:
        Why words must do, or what is missing; None when nothing is.

    Raises:
        memory.EmbedderUnavailable: the model cannot be loaded.
    """
    memory.start_indexing()
    show("opening the vector index")
    status = _while_state(memory, IndexState.STARTING)
    if status.state is not IndexState.UNAVAILABLE:
        show("loading the embedding model")
        embedder.embed(["it answers once it is loaded"])
        status = _while_state(memory, IndexState.INDEXING, show)
    if status.state is IndexState.UNAVAILABLE:
        return status.reason
    missing = status.passages - status.embedded
    return f"{missing:,} passages have no vector yet: they are found by words only." if missing else None


def _while_state(memory: Memory, state: IndexState, show: Callable[[str], None] | None = None) -> IndexStatus:
    """Wait until the state is another, or the index has enough."""
    while (status := memory.index_status()).state is state and not _is_enough(status):
        if show is not None:
            show(f"{status.embedded:,} of {status.passages:,} passages")
        time.sleep(_POLL_S)
    return status


def _is_enough(status: IndexStatus) -> bool:
    return status.passages > 0 and status.embedded >= _ENOUGH * status.passages
