"""Search by meaning, as the rest of the memory sees it, and the thread that gives passages their vectors."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Lock, Thread
from typing import Any, NamedTuple, TypeVar

from memory.errors import EmbedderUnavailable, StoreError, TextRefused
from memory.ports import Embedder, Vectors
from memory.reports import IndexState, IndexStatus
from memory.storage import Database, Passages, StoredVectors
from memory.vectors.index import Index
from memory.vectors.switching import Embedders

__all__ = ["Nearest", "PassageVectors", "TimeLimit"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_POLL_S = 30.0  # another process may have forgotten something, or ended; what failed may work again
_SEARCH_WAIT_S = 0.5  # a search waits no longer for meanings; keywords must do
_CONCURRENT_SEARCHES = 4
_CLOSE_S = 10.0
_BATCH = 64  # passages embedded and stored at a time
_BACKFILL = 200  # older messages split into passages at a time
_COUNT_S = 1.0  # how old the counts of `status` may be


class Nearest(NamedTuple):
    """What is near to a text.

    Args:
        model: the name of the embedder that was asked.
        vector: the text's.
        passages: ids and cosine similarities, the most similar first.
    """

    model: str
    vector: Vectors
    passages: list[tuple[int, float]]


class PassageVectors:
    """Gives passages their vectors, searches by meaning, and forgets.

    `start` starts the thread; every method may be called from any thread. Only the process that owns the
    index embeds: what two of them did would be done twice. Until the embedder is ready, and whenever it
    fails, `search` returns None and keywords must do.

    Args:
        embedders: None switches search by meaning off; messages are still split into passages.
        index: None for a store in memory.
        why_off: why there is no embedder although one is wanted, as a sentence.

    Attributes:
        status: indexing progress.
        timeouts: searches that did not wait any longer for meanings.
    """

    def __init__(
        self,
        database: Database,
        passages: Passages,
        vectors: StoredVectors,
        *,
        embedders: Embedders | None,
        index: Index | None,
        why_off: str | None = None,
    ) -> None:
        self.status = IndexStatus(IndexState.UNAVAILABLE if why_off else IndexState.OFF, reason=why_off)
        self.timeouts = 0
        self._why_off = why_off
        self._database = database
        self._passages = passages
        self._vectors = vectors
        self._embedders = embedders
        self._index = index
        self._time_limit = TimeLimit(_SEARCH_WAIT_S, _CONCURRENT_SEARCHES)
        self._work_pending = Event()
        self._starting = Lock()
        self._stopping = False
        self._thread: Thread | None = None
        self._counted_at = 0.0
        self._backfilled: int | None = 0  # messages up to this number have passages; None: all have
        # Passages that end an embedding model, by its name, until this process ends.
        self._refused: defaultdict[str, set[int]] = defaultdict(set)
        self._switching = False

    def start(self) -> None:
        """Split messages that have no passages yet, then embed and index; in the background, once."""
        with self._starting:
            if self._thread is None and not self._stopping:
                if self._embedders is not None:
                    self.status = IndexStatus(IndexState.STARTING)
                self._thread = Thread(target=self._run, name="memory-vectors", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Tell the thread that there is something to do."""
        self._work_pending.set()

    @property
    def model(self) -> str:
        """The name of the embedder whose vectors answer searches now; empty if there is none."""
        embedder = self.answering()
        return embedder.name if embedder is not None else ""

    def search(
        self,
        text: str,
        count: int,
        *,
        known: tuple[str, Vectors] | None = None,
        within: Collection[int] | None = None,
        hidden: Collection[int] = (),
    ) -> Nearest | None:
        """The passages nearest to a text; None if it cannot answer now.

        Args:
            known: an embedder's name and its vector of the text.
            within: only these passages, a few thousand at most; None: all.
            hidden: chats whose passages do not count, by number.
        """
        embedder = self.answering()
        if embedder is None or self._stopping:
            return None
        embedder.start()  # a process that does not own the index needs it for questions only
        if not embedder.ready:
            return None
        vector = known[1] if known is not None and known[0] == embedder.name else None
        try:
            return self._time_limit.run(lambda: self._find(embedder, text, count, vector, within, hidden))
        except TimeoutError:
            self.timeouts += 1
            _log.warning("Search by meaning takes too long; searching by keywords only.")
        except EmbedderUnavailable as error:
            _log.warning("Search by meaning failed: %s", error)
        return None

    def answering(self) -> Embedder | None:
        """The embedder whose vectors answer searches now."""
        return None if self._embedders is None or self._stopping else self._embedders.answering()

    def load(self) -> None:
        """Load the embedder that answers; blocks.

        Raises:
            EmbedderUnavailable: there is none, or it cannot be loaded.
        """
        if self._embedders is None:
            raise EmbedderUnavailable(self._why_off or "There is no embedding model.")
        while True:
            embedder = self.answering() or self._embedders.wanted
            try:
                embedder.embed(["blocks until the model is loaded"], query=True)
                return
            except EmbedderUnavailable:
                if self.answering() in (None, embedder):  # else the next one took over meanwhile
                    raise

    def nearest(self, text: str) -> float | None:
        """The cosine similarity of the passage nearest to a text; None if it cannot answer now."""
        found = self.search(text, 1)
        return None if found is None else max((cosine for _, cosine in found.passages), default=0.0)

    def similarities(self, model: str, vector: Vectors, passages: Sequence[int]) -> list[tuple[int, float]]:
        """How near these passages are to a text's vector, as far as they have one of this model."""
        from memory.vectors.exact import scan  # loads numpy

        if not passages:
            return []
        return scan(self._database, self._vectors, model, vector, count=len(passages), within=passages)

    def erase(self) -> bool:
        """After passages were deleted, and their vectors with them: take these out of the index as well.

        Returns:
            Whether that is done; if not, another process has the index open and does it within half a minute,
            or else whoever opens it next.
        """
        done = self._index is None or self._index.erase()
        self.wake()
        return done

    def close(self) -> None:
        """End the thread, then close index and embedder. Safe to call twice."""
        with self._starting:
            self._stopping = True
        self.wake()
        if self._embedders is not None:
            self._embedders.close()  # first: the thread may be waiting for it to load its model
        if self._thread is not None:
            self._thread.join(_CLOSE_S)
        if self._index is not None:
            self._index.close()  # a thread that still waits for the worker loses it
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._time_limit.close()

    def _find(
        self,
        embedder: Embedder,
        text: str,
        count: int,
        vector: Vectors | None,
        within: Collection[int] | None,
        hidden: Collection[int],
    ) -> Nearest:
        from memory.vectors.exact import scan  # loads numpy

        if vector is None:
            vector = embedder.embed([text], query=True)[0]
        if within is None and self._index is not None:
            found = self._index.search(embedder.name, vector, count, hidden)
            if found is not None:
                return Nearest(embedder.name, vector, found)
            self.wake()  # if its worker died, the thread replaces it
        found = scan(self._database, self._vectors, embedder.name, vector, count, within, hidden)
        return Nearest(embedder.name, vector, found)

    # The rest runs on the thread.

    def _run(self) -> None:
        while not self._stopping:
            self._work_pending.clear()
            try:
                self._catch_up()
            except StoreError as error:
                if not self._stopping:
                    _log.warning("Search by meaning is off: %s", error)
                    self.status = IndexStatus(
                        IndexState.UNAVAILABLE, reason=str(error), switching=self._switching
                    )
                self._pause(_POLL_S)
            else:
                if not self._stopping:  # checked after `clear`: `close` sets it before it sets the event
                    due_in_s = self._index.due_in_s if self._index is not None else None
                    self._work_pending.wait(_POLL_S if due_in_s is None else min(due_in_s, _POLL_S))

    def _pause(self, seconds: float) -> None:
        """Wait, whatever there is to do: what is broken will not be better with the next message."""
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._work_pending.wait(left)
            if not self._stopping:
                self._work_pending.clear()

    def _catch_up(self) -> None:
        while not self._stopping and self._backfilled is not None:
            self._backfilled = self._database.call(self._passages.add_missing, self._backfilled, _BACKFILL)
        if self._embedders is None or self._index is None:
            return
        if not self._stopping and self._index.own():
            self._embed_all(self._embedders, self._index)
        if not self._stopping:
            self._report(IndexState.READY)

    def _embed_all(self, embedders: Embedders, index: Index) -> None:
        self._switching = embedders.begin()
        embedders.wanted.start()
        untidy = True
        while not self._stopping:
            if untidy and (untidy := embedders.tidy()):
                continue
            if self._take_step(embedders, index):
                continue
            if not self._switching:
                return
            embedders.take_over()
            self._switching, untidy = False, True

    def _take_step(self, embedders: Embedders, index: Index) -> bool:
        """Embed a batch, and index one; False when there is nothing left."""
        index_has_more = False
        if (answering := embedders.answering()) is not None:
            index.serve(answering)
            index_has_more = index.work()
            if self._switching:
                self._embed_new(answering, index)
        wanted = embedders.wanted
        batch = self._database.call(
            self._vectors.missing, wanted.name, _BATCH, skipped=self._refused[wanted.name]
        )
        if batch or index_has_more:
            self._report(IndexState.INDEXING)
        if batch:
            self._embed(batch, wanted, index)
        return bool(batch) or index_has_more

    def _embed_new(self, former: Embedder, index: Index) -> None:
        """Let the model that still answers embed what was said meanwhile, or nobody would find it."""
        batch = self._database.call(self._vectors.without_any, _BATCH, skipped=self._refused[former.name])
        if batch:
            try:
                self._embed(batch, former, index)
            except EmbedderUnavailable as error:
                _log.warning("The former embedding model failed: %s", error)

    def _embed(self, batch: Sequence[tuple[int, str]], embedder: Embedder, index: Index) -> None:
        from memory.vectors.exact import to_bytes  # loads numpy

        ids = [number for number, _ in batch]
        adopted = self._database.call(self._vectors.adopt, embedder.name, ids)
        batch = [item for item in batch if item[0] not in adopted]
        if not batch:
            return
        try:
            # The text alone: adding date and speaker made recall worse, and both have their own signals.
            vectors = embedder.embed([text for _, text in batch])
        except TextRefused as refusal:
            refused = batch[refusal.row][0]
            _log.warning("Passage %d is found by its words only: %s", refused, refusal)
            self._refused[embedder.name].add(refused)
            return  # the next batch holds the others
        # A passage that was forgotten while it was being embedded does not come back.
        rows = zip([number for number, _ in batch], to_bytes(vectors), strict=True)
        stored = self._database.call(self._vectors.add, embedder.name, rows)
        index.add(embedder.name, stored)
        self._report(IndexState.INDEXING, added=len(stored) + len(adopted))

    def _report(self, state: IndexState, *, added: int = 0) -> None:
        assert self._embedders is not None
        # Counting takes milliseconds while 100,000 passages have no vector.
        if state is self.status.state and time.monotonic() - self._counted_at < _COUNT_S:
            self.status = replace(self.status, embedded=self.status.embedded + added)
            return
        passages, embedded = self._database.call(self._vectors.counts, self._embedders.wanted.name)
        self._counted_at = time.monotonic()
        self.status = IndexStatus(state, embedded, passages, switching=self._switching)


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
        try:
            answer = self._threads.submit(work)
        except RuntimeError:  # it was closed
            raise TimeoutError from None
        try:
            return answer.result(self._seconds)
        except TimeoutError:
            if not answer.cancel():
                self._overdue = answer
            raise

    def close(self) -> None:
        """Wait for work that is running. Safe to call twice."""
        self._threads.shutdown(cancel_futures=True)
