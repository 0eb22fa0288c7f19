"""The vector index on Chroma: finds passages by meaning. Derived data, rebuilt from SQLite at any time."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock, Thread
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np

from memory.errors import IndexUnavailable
from memory.ports import VectorIndex, Vectors
from memory.vectors.index_process import IndexProcess, IndexSpec, WorkerDied

__all__ = ["ChromaIndex", "open_index"]

_BATCH = 1000  # vectors in one request
_SEARCH_WAIT_S = 0.5  # a search waits no longer for other calls; keywords must do
_SILENCE_S = 30.0  # then a process without a sign of life is killed
_SERVER_SILENCE_S = 10.0
_RETRY_S = 30.0
_MAX_DEATHS = 5  # then it stays off until stevemin restarts
_CLOSE_WAIT_S = 10.0


def open_index(
    folder: Path, *, store: str, embedder: str, dimension: int, url: str | None = None
) -> ChromaIndex:
    """Open or create the index of one embedder; takes a second or two.

    Args:
        folder: of the embedded index, made with mode 0700; one process owns it. With a `url`, it only
            stores the id of this installation's collection.
        store: identity of the store whose passages it has. Passage ids are row numbers, the same in every
            store; so vectors of another one are deleted.
        embedder: names the embedding model. Vectors of another name are deleted, never mixed in.
        dimension: length of a vector.
        url: of a Chroma server (http://host:port) to use instead. Chroma reads its credentials from
            `CHROMA_CLIENT_AUTH_PROVIDER` and `CHROMA_CLIENT_AUTH_CREDENTIALS`.

    Raises:
        IndexUnavailable: another stevemin has it open, chromadb is missing, the disk or the server fails,
            or `url` is no address.
    """
    if url is not None and not (urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname):
        raise IndexUnavailable(
            f"{url!r} is not the address of a Chroma server; write it like http://127.0.0.1:8000."
        )
    return ChromaIndex(IndexSpec(Path(os.path.abspath(folder)), embedder, dimension, url, store=store))


class ChromaIndex(VectorIndex):
    """A `VectorIndex` on chromadb, in a process of its own that is restarted when it dies. Thread-safe.

    Embedded, `remove` and `clear` return when no file holds the vectors any more. On a server they hide the
    vectors, and the server decides when to erase the bytes.

    Whenever something was lost, a call raises `IndexUnavailable`; then `ids` tells what is left.

    Attributes:
        rebuilt: when last opened it was new, damaged or of another embedder, so it lacks passages.

    Raises (every method):
        IndexUnavailable: it cannot answer now; the next call tries again.
    """

    def __init__(self, spec: IndexSpec) -> None:
        self.rebuilt = False
        self._spec = spec
        self._turn = Lock()
        self._process: IndexProcess | None = None
        self._failure = IndexUnavailable("The vector index is closed.")
        self._deaths = 0
        self._retry_at = 0.0
        self._closed = False
        with self._turn:
            self._start()

    def search(
        self, vector: Vectors, count: int, within: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """Never waits long: raises while passages are being removed or the process restarts."""
        if count < 1 or (within is not None and not within):
            return []
        self._check(vector.reshape(1, -1), 1)
        if not self._turn.acquire(timeout=_SEARCH_WAIT_S):
            raise IndexUnavailable("The vector index is busy; searching by keywords only.")
        try:
            if self._process is None:
                if not self._closed and time.monotonic() >= self._retry_at:
                    self._restart_in_background()
                raise self._failure
            return cast(list[tuple[int, float]], self._ask("search", vector, count, within))
        finally:
            self._turn.release()

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Add or replace vectors, 1,000 at a time; searches run in between."""
        self._check(vectors, len(ids))
        last = {number: row for row, number in enumerate(ids)}  # Chroma refuses an id twice
        numbers, rows = list(last), list(last.values())
        for start in range(0, len(numbers), _BATCH):
            batch = slice(start, start + _BATCH)
            with self._turn:
                self._ask("add", numbers[batch], vectors[rows[batch]])

    def remove(self, ids: Sequence[int]) -> None:
        """Remove passages with every byte of their vectors; takes seconds, since what stays is copied."""
        if not ids:
            return
        with self._turn:
            self._ask("remove", list(ids))

    def ids(self) -> set[int]:
        """Ids of all passages in it."""
        with self._turn:
            return cast(set[int], self._ask("ids"))

    def clear(self) -> None:
        """Remove everything."""
        with self._turn:
            self._ask("clear")

    def close(self) -> None:
        """Shut the process down cleanly. Safe to call twice."""
        self._closed = True
        has_turn = self._turn.acquire(timeout=_CLOSE_WAIT_S)
        process, self._process = self._process, None
        self._failure = IndexUnavailable("The vector index is closed.")
        if process is not None:
            if not has_turn:
                process.kill()
            process.stop()
        if has_turn:
            self._turn.release()

    # The rest runs while holding the turn.

    def _ask(self, name: str, *args: object) -> Any:
        if self._closed:
            raise self._failure
        process = self._process or self._start()
        try:
            return process.ask(name, *args)
        except WorkerDied as exc:
            self._process = None
            process.stop()
            self._deaths += 1
            self._failure = IndexUnavailable(
                f"The vector index at {self._spec.where} stopped answering; searching by keywords only."
            )
            self._restart_in_background()
            raise self._failure from exc

    def _start(self) -> IndexProcess:
        if self._deaths >= _MAX_DEATHS and not self._spec.url:
            raise IndexUnavailable(
                f"The vector index at {self._spec.where} stopped {self._deaths} times; "
                "searching by keywords only until stevemin starts again."
            )
        self._retry_at = time.monotonic() + _RETRY_S
        try:
            process = self._open()
        except IndexUnavailable as exc:
            self._failure = exc
            raise
        if self._closed:
            process.stop()
            raise self._failure
        self._process = process
        self.rebuilt = process.rebuilt
        return process

    def _open(self) -> IndexProcess:
        silence_s = _SERVER_SILENCE_S if self._spec.url else _SILENCE_S
        # If it died twice, the cause is in its files.
        spec = replace(self._spec, fresh=self._deaths > 1)
        try:
            try:
                return IndexProcess(spec, silence_s=silence_s)
            except WorkerDied as exc:
                if not exc.opening or spec.url:
                    raise
                return IndexProcess(replace(spec, fresh=True), silence_s=silence_s)
        except WorkerDied as exc:
            problem = "does not answer" if spec.url else "does not start"
            raise IndexUnavailable(f"The vector index at {self._spec.where} {problem}.") from exc

    def _restart_in_background(self) -> None:
        Thread(target=self._restart, name="memory-index-restart", daemon=True).start()

    def _restart(self) -> None:
        with self._turn, suppress(IndexUnavailable):
            if self._process is None and not self._closed:
                self._start()

    def _check(self, vectors: Vectors, rows: int) -> None:
        wanted = (rows, self._spec.dimension)
        if vectors.shape != wanted:
            raise IndexUnavailable(
                f"The vector index takes vectors of shape {wanted}, but the embedder gave {vectors.shape}."
            )
        if not np.isfinite(vectors).all():
            raise IndexUnavailable("The embedder gave a vector with a number that is not finite.")
