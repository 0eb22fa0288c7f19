"""Opening the memory: for the application, and for commands beside a chat that may be running."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from memory import EmbedderUnavailable, IndexState, Memory, RerankerUnavailable
from stevemin_chat.base import begin
from stevemin_chat.models import configured_embedder, configured_reranker, reopened_embedder
from stevemin_chat.text import count

if TYPE_CHECKING:
    from memory import Embedder, IndexStatus, Reranker
    from stevemin_chat.base import MemorySection, Paths

__all__ = ["open_memory", "open_store", "wait_for_meaning"]

_log = logging.getLogger(__name__)

_POLL_S = 0.1
_ENOUGH = 0.9  # share of the passages: the newest come first, and a first run may take an hour


def open_store(
    paths: Paths, settings: MemorySection, database: Path | None = None, *, meaning: bool = False
) -> Memory:
    """Open the store and mark replies that a crash interrupted. Blocks; the caller closes the memory.

    Args:
        database: the SQLite file; None is the one in the data folder, which is created.
        meaning: search by meaning, too; the embedding model is loaded when something is searched. Where it is
            not on this machine, the memory's `index_status` says so.

    Raises:
        FolderNotWritable, memory.StoreError: the store cannot be opened.
    """
    if database is None:
        paths.prepare()
        database = paths.database
    embedder, why_not = _embedder(paths, settings) if meaning else (None, None)
    memory = Memory(
        database,
        embedder=embedder,
        reranker=_reranker(paths, settings) if meaning else None,
        reopen_embedder=lambda recipe: reopened_embedder(paths, recipe),
        no_embedder=why_not,
        chroma_url=settings.chroma_url,
        remembering=None if settings.enabled else False,
    )
    try:
        memory.recover_interrupted()
    except BaseException:
        memory.close()
        raise
    return memory


@contextmanager
def open_memory(*, meaning: bool = False) -> Iterator[Memory]:
    """The store of the data folder, for one command.

    Args:
        meaning: allows searching by meaning.

    Raises:
        ConfigFileError, FolderNotWritable, memory.StoreError: the store cannot be opened.
    """
    paths, config = begin()
    with open_store(paths, config.memory, meaning=meaning) as memory:
        yield memory


def _embedder(paths: Paths, settings: MemorySection) -> tuple[Embedder | None, str | None]:
    """The embedder, or why there is none: search is by words then."""
    try:
        return configured_embedder(paths, settings), None
    except EmbedderUnavailable as error:
        _log.warning("Search is by words only: %s", error)
        return None, str(error)


def _reranker(paths: Paths, settings: MemorySection) -> Reranker | None:
    try:
        return configured_reranker(paths, settings)
    except RerankerUnavailable as error:  # `doctor` says so, too
        _log.warning("Nothing is reranked: %s", error)
        return None


def wait_for_meaning(memory: Memory, show: Callable[[str], None]) -> str | None:
    """Load the embedding model and wait until nearly all passages have a vector. Blocks.

    Args:
        show: called with the progress in words.

    Returns:
        Why search is by words only, or what has no vector yet; None when everything has one.

    Raises:
        memory.EmbedderUnavailable: there is no model, or it cannot be loaded.
    """
    memory.start_indexing()
    show("loading the embedding model")
    memory.load_embedder()
    show("opening the vector index")
    status = _while_state(memory, IndexState.STARTING)
    if status.state is not IndexState.UNAVAILABLE:
        status = _while_state(memory, IndexState.INDEXING, show)
    if status.state is IndexState.UNAVAILABLE:
        return status.reason
    missing = status.passages - status.embedded
    if not missing:
        return None
    if status.switching:
        return f"Another embedding model takes over; {count(missing, 'passage')} to go."
    have, them = ("has", "it") if missing == 1 else ("have", "them")
    return f"{count(missing, 'passage')} {have} no vector yet; search finds {them} by words only."


def _while_state(memory: Memory, state: IndexState, show: Callable[[str], None] | None = None) -> IndexStatus:
    """Wait until the state changes, or the index holds enough."""
    while (status := memory.index_status()).state is state and not _is_enough(status):
        if show is not None:
            show(f"{status.embedded:,} of {status.passages:,} passages")
        time.sleep(_POLL_S)
    return status


def _is_enough(status: IndexStatus) -> bool:
    return status.switching or (status.passages > 0 and status.embedded >= _ENOUGH * status.passages)
