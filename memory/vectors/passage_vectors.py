"""Search by meaning: keeps the vector index in sync from a background thread, and queries it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, TypeVar

from memory.errors import EmbedderUnavailable, IndexUnavailable, StoreError
from memory.ports import Embedder, VectorIndex
from memory.reports import IndexState, IndexStatus
from memory.storage import Database, Passages
from memory.vectors.sync import IndexSync, LazyIndex

__all__ = ["PassageVectors"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_POLL_S = 30.0  # another process may have marked vectors for removal, or what failed may work again
_SEARCH_WAIT_S = 0.5  # a search waits no longer for meanings; keywords must do
_CONCURRENT_SEARCHES = 4


class PassageVectors:
    """Embeds new passages, searches by meaning, and removes vectors.

    `start` starts a thread that opens and fills the index; every method may be called from any thread.
    Until the embedder is ready, and whenever it or the index fails, `search` returns None and keywords
    must do.

    Args:
        embedder: None switches search by meaning off.
        folder: of the index, which may not exist yet; None if there can be no index.
        open_index: opens the index of the embedder.

    Attributes:
        timeouts: searches that did not wait any longer for meanings.
    """

    def __init__(
        self,
        database: Database,
        passages: Passages,
        *,
        embedder: Embedder | None,
        folder: Path | None,
        open_index: Callable[[Embedder], VectorIndex],
    ) -> None:
        self._database = database
        self._passages = passages
        self._embedder = embedder
        self._index = LazyIndex(folder, lambda: open_index(self._required_embedder()))
        self._sync = IndexSync(database, passages, embedder, self._index, lambda: self._stopping)
        self._time_limit = TimeLimit(_SEARCH_WAIT_S, _CONCURRENT_SEARCHES)
        self._work_pending = Event()
        self._starting = Lock()
        self._stopping = False
        self._thread: Thread | None = None
        self.timeouts = 0

    @property
    def status(self) -> IndexStatus:
        """Indexing progress; never blocks."""
        return self._sync.status

    def start(self) -> None:
        """Split messages that have no passages yet, then open and fill the index; in the background, once."""
        with self._starting:
            if self._thread is None and not self._stopping:
                if self._embedder is not None:
                    self._sync.status = IndexStatus(IndexState.STARTING)
                self._thread = Thread(target=self._run, name="memory-vectors", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Tell the thread that there are new passages."""
        self._work_pending.set()

    def search(
        self, text: str, count: int, within: Collection[int] | None = None
    ) -> list[tuple[int, float]] | None:
        """Passage ids and cosine similarities, the most similar first; None if it cannot answer now.

        Args:
            within: only these passages, a few thousand at most; None: all.
        """
        embedder, index = self._embedder, self._index.current
        if embedder is None or index is None or not embedder.ready:
            return None
        try:
            return self._time_limit.run(lambda: index.search(embedder.embed([text])[0], count, within))
        except TimeoutError:
            self.timeouts += 1
            _log.warning("Search by meaning takes too long; searching by keywords only.")
        except (EmbedderUnavailable, IndexUnavailable) as error:
            _log.warning("Search by meaning failed: %s", error)
        return None

    def nearest(self, text: str) -> float | None:
        """The cosine similarity of the passage nearest to a text; None if it cannot answer now."""
        found = self.search(text, 1)
        return None if found is None else max((cosine for _, cosine in found), default=0.0)

    def remove(self, ids: Sequence[int]) -> bool:
        """Delete vectors from every file, even if nothing has opened the index yet.

        Vectors that cannot be deleted now are marked; the process that has the index open deletes them
        within half a minute.

        Returns:
            Whether they are deleted.
        """
        if not ids:
            return True
        self._database.call(self._passages.mark_removed, ids)
        if not self._index.exists:
            return True
        self._work_pending.set()
        if self._embedder is None:
            return False
        try:
            with self._index.writing(keep_open=self._thread is not None) as index:
                self._sync.remove_marked(index)
        except IndexUnavailable as error:
            self._index.in_sync = False
            _log.warning("Vectors could not be removed: %s", error)
            return False
        return True

    def close(self) -> None:
        """End the thread, then close index and embedder. Safe to call twice."""
        with self._starting:
            self._stopping = True
        self._work_pending.set()
        if self._embedder is not None:
            self._embedder.close()  # first: the thread may be waiting for it to load its model
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._index.close()
        self._time_limit.close()

    def _run(self) -> None:
        while not self._stopping:
            self._work_pending.clear()
            try:
                self._sync.run()
            except StoreError:  # the status tells why
                self._pause(_POLL_S)
                continue
            if not self._stopping:  # checked after `clear`: `close` sets it before it sets the event
                self._work_pending.wait(_POLL_S)

    def _pause(self, seconds: float) -> None:
        """Wait, whatever there is to do: what another process has open, or what is broken, will not be better
        with the next message."""
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._work_pending.wait(left)
            if not self._stopping:
                self._work_pending.clear()

    def _required_embedder(self) -> Embedder:
        assert self._embedder is not None
        return self._embedder


class TimeLimit:
    """Runs work on its own threads, so that the caller can stop waiting. Thread-safe.

    Args:
        seconds: how long a caller waits. While an earlier answer is overdue, callers do not wait at all.
        threads: how many calls may run at once.
    """

    def __init__(self, seconds: float, threads: int) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="memory-search")
        self._overdue: Future[Any] | None = None

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises.

        Raises:
            TimeoutError: it takes too long.
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
        """Wait for work that is running. Safe to call twice."""
        self._threads.shutdown(cancel_futures=True)
