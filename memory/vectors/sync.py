"""Keeps the vector index in sync with the passages in the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from memory.errors import StoreError, TextRefused
from memory.ports import Embedder, VectorIndex
from memory.reports import IndexState, IndexStatus
from memory.storage import Database, Passages
from memory.types import Passage

__all__ = ["IndexSync", "LazyIndex"]

_log = logging.getLogger(__name__)

_BATCH = 64  # passages embedded and added at a time: what a removal may have to wait for
_BACKFILL = 200  # older messages split into passages at a time
_COUNT_S = 1.0  # how old the counts of `status` may be


class LazyIndex:
    """One process's vector index: opened by the first writer, open until the end. Thread-safe.

    Writers take turns; searches do not wait for them.

    Args:
        folder: where the index is, once it has been created; None if there can be none.
        open_index: opens or creates it; raises `IndexUnavailable`.

    Attributes:
        in_sync: the index has the vectors that the store says it has. Writers set this.
    """

    def __init__(self, folder: Path | None, open_index: Callable[[], VectorIndex]) -> None:
        self.in_sync = False
        self._folder = folder
        self._open_index = open_index
        self._index: VectorIndex | None = None
        self._writing = RLock()

    @property
    def current(self) -> VectorIndex | None:
        """The index, if it is open; never blocks."""
        return self._index

    @property
    def exists(self) -> bool:
        """Whether there are vectors, in this process or on disk."""
        return self._index is not None or (self._folder is not None and self._folder.exists())

    @contextmanager
    def writing(self, *, keep_open: bool = True) -> Iterator[VectorIndex]:
        """The index, for this thread alone. Opening it takes a second or two.

        Args:
            keep_open: False closes it again, if this call opened it.

        Raises:
            IndexUnavailable: it cannot be opened; another process has it, for example.
        """
        with self._writing:
            was_open = self._index is not None
            index = self._index = self._index or self._open_index()
            try:
                yield index
            finally:
                if not (keep_open or was_open):
                    self.close()

    def close(self) -> None:
        """Wait for the current writer, then release the files. Safe to call twice."""
        with self._writing:
            index, self._index = self._index, None
            if index is not None:
                index.close()


class IndexSync:
    """Splits messages into passages, embeds them, adds their vectors, and removes stale ones.

    For one thread.

    Args:
        embedder: None: messages are split into passages and nothing else happens.
        stopped: polled while it works; once true, the work ends within a batch.

    Attributes:
        status: indexing progress; may be read from any thread.
    """

    def __init__(
        self,
        database: Database,
        passages: Passages,
        embedder: Embedder | None,
        index: LazyIndex,
        stopped: Callable[[], bool],
    ) -> None:
        self.status = IndexStatus(IndexState.OFF)
        self._database = database
        self._passages = passages
        self._embedder = embedder
        self._index = index
        self._stopped = stopped
        self._counted_at = 0.0
        self._backfilled: int | None = 0  # messages up to this number have passages; None: all have
        self._refused: set[int] = set()  # passages that end the embedding model, until this process ends

    def run(self) -> None:
        """Do all the work there is.

        Raises:
            StoreError: it cannot continue now; `status` tells why.
        """
        try:
            self._split_older()
            if self._embedder is not None and not self._stopped():
                self._fill(self._embedder)
        except StoreError as error:
            self._index.in_sync = False
            if not self._stopped():
                _log.warning("Search by meaning is off: %s", error)
                self.status = IndexStatus(IndexState.UNAVAILABLE, reason=str(error))
            raise

    def remove_marked(self, index: VectorIndex) -> None:
        """Remove the vectors that any process has marked. Any thread; the caller must be the writer."""
        if gone := self._database.call(self._passages.removed):
            index.remove(gone)
            self._database.call(self._passages.clear_removed, gone)

    def _split_older(self) -> None:
        while not self._stopped() and self._backfilled is not None:
            self._backfilled = self._database.call(self._passages.add_missing, self._backfilled, _BACKFILL)

    def _fill(self, embedder: Embedder) -> None:
        with self._index.writing() as index:
            embedder.start()  # not before: where another process has the index, the model is of no use
            if not self._index.in_sync:
                self._reconcile(index, embedder)
                self._index.in_sync = True
            self.remove_marked(index)
        while not self._stopped() and (batch := self._next_batch()):
            self._report(IndexState.INDEXING)
            self._embed(batch, embedder)
        self._report(IndexState.READY)

    def _reconcile(self, index: VectorIndex, embedder: Embedder) -> None:
        """Trust the index about what it has: it may have been lost, or written by another process."""
        present = index.ids()
        self._database.call(self._passages.reset_other_embedders, embedder.name)
        known = set(self._database.call(self._passages.embedded, embedder.name))
        self._database.call(self._passages.mark_embedded, sorted(known - present), None)
        if unknown := present - known:
            index.remove(sorted(unknown))

    def _next_batch(self) -> list[Passage]:
        return self._database.call(self._passages.without_vector, _BATCH, skipped=self._refused)

    def _embed(self, batch: Sequence[Passage], embedder: Embedder) -> None:
        try:
            # The text alone: adding date and speaker made recall worse, and both have their own signals.
            vectors = embedder.embed([passage.text for passage in batch])
        except TextRefused as refusal:
            passage = batch[refusal.row]
            _log.warning("Passage %d is found by its words only: %s", passage.id, refusal)
            self._refused.add(passage.id)
            return  # the next batch holds the others
        ids = [passage.id for passage in batch]
        with self._index.writing() as index:
            index.add(ids, vectors)
            # A passage that was forgotten while it was being embedded must not come back.
            present = self._database.call(self._passages.get, ids)
            if gone := [number for number in ids if number not in present]:
                index.remove(gone)
        self._database.call(self._passages.mark_embedded, ids, embedder.name)
        self._report(IndexState.INDEXING, added=len(ids))

    def _report(self, state: IndexState, *, added: int = 0) -> None:
        # Counting takes milliseconds while 100,000 passages have no vector.
        if state is self.status.state and time.monotonic() - self._counted_at < _COUNT_S:
            self.status = IndexStatus(state, self.status.embedded + added, self.status.passages)
            return
        passages, embedded = self._database.call(self._passages.counts)
        self._counted_at = time.monotonic()
        self.status = IndexStatus(state, embedded, passages)
