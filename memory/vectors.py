"""The search by meaning: keeps the vector index filled from a thread of its own, and asks it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

from memory.database import Database
from memory.errors import EmbedderUnavailable, IndexUnavailable, StoreError
from memory.filling import Filling
from memory.held_index import HeldIndex
from memory.index_status import IndexState, IndexStatus
from memory.passages import Passages
from memory.patience import Patience
from memory.ports import Embedder, VectorIndex

__all__ = ["PassageVectors"]

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
