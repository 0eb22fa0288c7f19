"""The search by meaning: keeps the vector index filled from a thread of its own, and asks it.

Brings the vector index in step with the passages.

Waits only so long for an answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, TypeVar

from memory.errors import EmbedderUnavailable, IndexUnavailable, StoreError, TextRefused
from memory.ports import Embedder, VectorIndex
from memory.storage.database import Database
from memory.storage.passages import Passages
from memory.types import IndexState, IndexStatus, Passage
from memory.vectors.chroma import HeldIndex

__all__ = [
    "Filling",
    "PassageVectors",
    "Patience",
]


_log = logging.getLogger(__name__)

_LOOK_S = 30.0  # another process may have noted vectors that must go, or what failed may work again
_PATIENCE_S = 0.5  # a search does not wait longer for its meanings: keywords have to do
_SEARCHES = 4  # at once


class PassageVectors:
    """Embeds new passages, searches by meaning, and takes out what must go.

    The index is opened and filled by a thread that `start` begins; every other method may be called from
    any thread. Until the embedder is ready, and whenever it or the index fails, `search` says None and
    keywords have to do.

    Args:
        embedder: None switches the search by meaning off.
        folder: of the index; need not be there.
        open_index: opens the index of the embedder.
    """

    def __init__(
        self,
        database: Database,
        passages: Passages,
        *,
        embedder: Embedder | None,
        folder: Path,
        open_index: Callable[[Embedder], VectorIndex],
    ) -> None:
        self._database = database
        self._passages = passages
        self._embedder = embedder
        self._index = HeldIndex(folder, lambda: open_index(self._required_embedder()))
        self._filling = Filling(database, passages, embedder, self._index, lambda: self._stopping)
        self._patience = Patience(_PATIENCE_S, _SEARCHES)
        self._news = Event()
        self._starting = Lock()
        self._stopping = False
        self._thread: Thread | None = None

    @property
    def status(self) -> IndexStatus:
        """How far it is; never blocks."""
        return self._filling.status

    def start(self) -> None:
        """Split what has no passages yet, then open the index and fill it; all in the background, once."""
        with self._starting:
            if self._thread is None and not self._stopping:
                if self._embedder is not None:
                    self._filling.status = IndexStatus(IndexState.STARTING)
                self._thread = Thread(target=self._run, name="memory-vectors", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """There are new passages."""
        self._news.set()

    def search(self, text: str, count: int) -> list[tuple[int, float]] | None:
        """Passage ids and cosine similarities, the most similar first; None: not now."""
        embedder, index = self._embedder, self._index.current
        if embedder is None or index is None or not embedder.ready:
            return None
        try:
            return self._patience.wait_for(lambda: index.search(embedder.embed([text])[0], count))
        except TimeoutError:
            _log.warning("Search by meaning takes too long; searching by keywords only.")
        except (EmbedderUnavailable, IndexUnavailable) as error:
            _log.warning("Search by meaning failed: %s", error)
        return None

    def remove(self, ids: Sequence[int]) -> bool:
        """Take vectors out of every file, also if nothing has opened the index yet.

        What cannot be done now is noted: whichever process has the index does it within a minute.

        Returns:
            Whether it is done.
        """
        if not ids:
            return True
        self._database.call(self._passages.note_removed, ids)
        if not self._index.exists:
            return True
        self._news.set()
        if self._embedder is None:
            return False
        try:
            with self._index.writing(keep=self._thread is not None) as index:
                self._filling.take_out(index)
        except IndexUnavailable as error:
            self._index.in_step = False
            _log.warning("Vectors could not be removed: %s", error)
            return False
        return True

    def close(self) -> None:
        """End the thread, then close index and embedder. Calling it twice is fine."""
        with self._starting:
            self._stopping = True
        self._news.set()
        if self._embedder is not None:
            self._embedder.close()  # first: the thread may be waiting for it to load its model
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._index.close()
        self._patience.close()

    def _run(self) -> None:
        while not self._stopping:
            self._news.clear()
            with suppress(StoreError):  # the status says so; a while later it is tried again
                self._filling.keep_up()
            if not self._stopping:  # looked at after `clear`: `close` sets it before it wakes us
                self._news.wait(_LOOK_S)

    def _required_embedder(self) -> Embedder:
        assert self._embedder is not None
        return self._embedder


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


T = TypeVar("T")


class Patience:
    """Runs work on threads of its own, so that whoever asks can give up. Thread-safe.

    Args:
        seconds: to wait at most. While an answer is overdue, nobody waits at all.
        threads: how many answers may be on their way at once.
    """

    def __init__(self, seconds: float, threads: int) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="memory-search")
        self._overdue: Future[Any] | None = None

    def wait_for(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises.

        Raises:
            TimeoutError: that takes too long.
        """
        overdue = self._overdue
        if overdue is not None and not overdue.done():
            raise TimeoutError
        answer = self._threads.submit(work)
        try:
            return answer.result(self._seconds)
        except TimeoutError:
            if not answer.cancel():
                self._overdue = answer
            raise

    def close(self) -> None:
        """Wait for work that is under way. Calling it twice is fine."""
        self._threads.shutdown(cancel_futures=True)
