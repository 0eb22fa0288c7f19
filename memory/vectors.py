"""Keeps the vector index in step with the passages, from a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from threading import Event, Lock, Thread

from memory.database import Database
from memory.errors import EmbedderUnavailable, IndexUnavailable, StoreError
from memory.passages import Passages
from memory.ports import Embedder, VectorIndex
from memory.types import Passage

__all__ = ["IndexState", "IndexStatus", "PassageVectors"]

_log = logging.getLogger(__name__)

_BATCH = 64  # passages embedded and entered at a time: what a search may have to wait for
_BACKFILL = 200  # older messages split into passages at a time
_RETRY_S = 30.0  # after the embedder or the index failed


class IndexState(StrEnum):
    """What a search by meaning can do now."""

    OFF = "off"  # nothing embeds here
    STARTING = "starting"
    INDEXING = "indexing"  # serves what it has
    READY = "ready"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How far the index is.

    Args:
        embedded, passages: how many passages have a vector, of how many.
        reason: a sentence, when it is unavailable.
    """

    state: IndexState
    embedded: int = 0
    passages: int = 0
    reason: str | None = None


class PassageVectors:
    """Embeds new passages, searches by meaning, and takes out what must go.

    The index is opened and filled by a thread that `start` begins; every other method may be called from
    any thread. Until the embedder is ready, and whenever it or the index fails, `search` says None and
    keywords have to do.

    Args:
        embedder: None switches the search by meaning off.
        open_index: opens the index of the embedder; runs on the thread.
    """

    def __init__(
        self,
        database: Database,
        passages: Passages,
        *,
        embedder: Embedder | None,
        open_index: Callable[[Embedder], VectorIndex],
    ) -> None:
        self._database = database
        self._passages = passages
        self._embedder = embedder
        self._open_index = open_index
        self._index: VectorIndex | None = None
        self._lock = Lock()  # adding and removing; a search does not wait for either
        self._trusted = False  # what the index has is what the store says
        self._backfilled: int | None = 0  # messages up to this number have passages; None: all have
        self._news = Event()
        self._stopping = False
        self._thread: Thread | None = None
        self._status = IndexStatus(IndexState.OFF)

    @property
    def status(self) -> IndexStatus:
        """How far it is; never blocks."""
        return self._status

    def start(self) -> None:
        """Split what has no passages yet, then open the index and fill it; all in the background, once."""
        if self._thread is not None:
            return
        if self._embedder is not None:
            self._status = IndexStatus(IndexState.STARTING)
        self._thread = Thread(target=self._run, name="memory-vectors", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There are new passages."""
        self._news.set()

    def search(self, text: str, count: int) -> list[tuple[int, float]] | None:
        """Passage ids and cosine similarities, the most similar first; None: not now."""
        embedder, index = self._embedder, self._index
        if embedder is None or index is None or not embedder.ready:
            return None
        try:
            return index.search(embedder.embed([text])[0], count)
        except (EmbedderUnavailable, IndexUnavailable) as error:
            _log.warning("Search by meaning failed: %s", error)
            return None

    def remove(self, ids: Sequence[int]) -> bool:
        """Take vectors out of every file; what cannot be done now is done when the index is next opened.

        Returns:
            Whether it is done.
        """
        if not ids:
            return True
        self._database.call(self._passages.note_removed, ids)
        self._news.set()
        if (index := self._index) is None:
            return False
        try:
            with self._lock:
                index.remove(ids)
            self._database.call(self._passages.forget_removed, ids)
        except IndexUnavailable as error:
            self._trusted = False
            _log.warning("Vectors could not be removed: %s", error)
            return False
        return True

    def close(self) -> None:
        """End the thread, then close index and embedder. Calling it twice is fine."""
        self._stopping = True
        self._news.set()
        if self._embedder is not None:
            self._embedder.close()  # first: the thread may be waiting for it to load its model
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        index, self._index = self._index, None
        if index is not None:
            with self._lock:
                index.close()

    # The rest runs on the thread.

    def _run(self) -> None:
        while not self._stopping:
            self._news.clear()
            patience = None
            try:
                self._keep_up()
            except StoreError as error:
                patience = _RETRY_S
                if not self._stopping:
                    self._give_up(error)
            if not self._stopping:  # looked at after `clear`: `close` sets it before it wakes us
                self._news.wait(patience)

    def _give_up(self, error: StoreError) -> None:
        self._trusted = False
        _log.warning("Search by meaning is off: %s", error)
        self._status = IndexStatus(IndexState.UNAVAILABLE, reason=str(error))

    def _keep_up(self) -> None:
        while not self._stopping and self._backfilled is not None:
            self._backfilled = self._database.call(self._passages.add_missing, self._backfilled, _BACKFILL)
        if self._embedder is not None and not self._stopping:
            self._fill()

    def _fill(self) -> None:
        self._open()
        while not self._stopping and (batch := self._next_batch()):
            self._enter(batch)
        self._report(IndexState.READY)

    def _open(self) -> None:
        assert self._embedder is not None
        self._embedder.start()
        index = self._index = self._index or self._open_index(self._embedder)
        if not self._trusted:
            self._take_stock(index)
            self._trusted = True
        if gone := self._database.call(self._passages.removed):
            with self._lock:
                self._index.remove(gone)
            self._database.call(self._passages.forget_removed, gone)

    def _take_stock(self, index: VectorIndex) -> None:
        """Believe the index about what it has: it may have been lost, or written without us."""
        assert self._embedder is not None
        there = index.ids()
        self._database.call(self._passages.disown, self._embedder.name)
        known = set(self._database.call(self._passages.embedded, self._embedder.name))
        self._database.call(self._passages.note_embedded, sorted(known - there), None)
        if strangers := there - known:
            index.remove(sorted(strangers))

    def _next_batch(self) -> list[Passage]:
        assert self._embedder is not None
        self._report(IndexState.INDEXING)
        return self._database.call(self._passages.to_embed, _BATCH)

    def _enter(self, batch: Sequence[Passage]) -> None:
        assert self._embedder is not None
        assert self._index is not None
        # Words alone: with date and speaker recall was worse, and both have signals of their own.
        vectors = self._embedder.embed([passage.text for passage in batch])
        ids = [passage.id for passage in batch]
        with self._lock:
            self._index.add(ids, vectors)
            # What was forgotten while it was being embedded must not come back.
            there = self._database.call(self._passages.get, ids)
            if gone := [number for number in ids if number not in there]:
                self._index.remove(gone)
        self._database.call(self._passages.note_embedded, ids, self._embedder.name)

    def _report(self, state: IndexState) -> None:
        assert self._embedder is not None
        everything, embedded = self._database.call(self._passages.counts)
        self._status = IndexStatus(state, embedded, everything)
