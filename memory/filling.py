"""Brings the vector index in step with the passages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from memory.database import Database
from memory.errors import StoreError, TextRefused
from memory.held_index import HeldIndex
from memory.index_status import IndexState, IndexStatus
from memory.passages import Passages
from memory.ports import Embedder, VectorIndex
from memory.types import Passage

__all__ = ["Filling"]

_log = logging.getLogger(__name__)

_BATCH = 64  # passages embedded and entered at a time: what a removal may have to wait for
_BACKFILL = 200  # older messages split into passages at a time
_COUNT_S = 1.0  # how old the figures of `status` may be


class Filling:
    """Splits, embeds and enters what is new, and takes out what must go. For one thread.

    Args:
        embedder: None: passages are split, and that is all.
        stopped: asked again and again; once it says yes, the work ends within a batch.

    Attributes:
        status: how far it is; may be read from any thread.
    """

    def __init__(
        self,
        database: Database,
        passages: Passages,
        embedder: Embedder | None,
        index: HeldIndex,
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

    def keep_up(self) -> None:
        """Do all there is to do.

        Raises:
            StoreError: it cannot go on now; `status` says why.
        """
        try:
            self._split_older()
            if self._embedder is not None and not self._stopped():
                self._fill(self._embedder)
        except StoreError as error:
            self._index.in_step = False
            if not self._stopped():
                _log.warning("Search by meaning is off: %s", error)
                self.status = IndexStatus(IndexState.UNAVAILABLE, reason=str(error))
            raise

    def take_out(self, index: VectorIndex) -> None:
        """Take vectors out that must go, whoever noted them. Any thread; the caller writes the index."""
        if gone := self._database.call(self._passages.removed):
            index.remove(gone)
            self._database.call(self._passages.forget_removed, gone)

    def _split_older(self) -> None:
        while not self._stopped() and self._backfilled is not None:
            self._backfilled = self._database.call(self._passages.add_missing, self._backfilled, _BACKFILL)

    def _fill(self, embedder: Embedder) -> None:
        embedder.start()
        with self._index.writing() as index:
            if not self._index.in_step:
                self._take_stock(index, embedder)
                self._index.in_step = True
            self.take_out(index)
        while not self._stopped() and (batch := self._next_batch()):
            self._report(IndexState.INDEXING)
            self._enter(batch, embedder)
        self._report(IndexState.READY)

    def _take_stock(self, index: VectorIndex, embedder: Embedder) -> None:
        """Believe the index about what it has: it may have been lost, or written without us."""
        there = index.ids()
        self._database.call(self._passages.disown, embedder.name)
        known = set(self._database.call(self._passages.embedded, embedder.name))
        self._database.call(self._passages.note_embedded, sorted(known - there), None)
        if strangers := there - known:
            index.remove(sorted(strangers))

    def _next_batch(self) -> list[Passage]:
        return self._database.call(self._passages.to_embed, _BATCH, skipped=self._refused)

    def _enter(self, batch: Sequence[Passage], embedder: Embedder) -> None:
        try:
            # Words alone: with date and speaker recall was worse, and both have signals of their own.
            vectors = embedder.embed([passage.text for passage in batch])
        except TextRefused as refusal:
            passage = batch[refusal.row]
            _log.warning("Passage %d is found by its words only: %s", passage.id, refusal)
            self._refused.add(passage.id)
            return  # the next batch is the others
        ids = [passage.id for passage in batch]
        with self._index.writing() as index:
            index.add(ids, vectors)
            # What was forgotten while it was being embedded must not come back.
            there = self._database.call(self._passages.get, ids)
            if gone := [number for number in ids if number not in there]:
                index.remove(gone)
        self._database.call(self._passages.note_embedded, ids, embedder.name)
        self._report(IndexState.INDEXING, entered=len(ids))

    def _report(self, state: IndexState, *, entered: int = 0) -> None:
        # Counting takes milliseconds while 100,000 passages have no vector.
        if state is self.status.state and time.monotonic() - self._counted_at < _COUNT_S:
            self.status = IndexStatus(state, self.status.embedded + entered, self.status.passages)
            return
        passages, embedded = self._database.call(self._passages.counts)
        self._counted_at = time.monotonic()
        self.status = IndexStatus(state, embedded, passages)
