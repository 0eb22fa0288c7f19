"""The fast index: a copy of the stored vectors in Chroma that is deleted, rather than repaired or edited.

    vectors.lock      beside the folder; held by the process that owns the index, and by its worker
    vectors/
        stamp.json    whose vectors these are; exists only between a proper close and the next opening
        chroma/       Chroma's files
        server-owner  with a server: the id of this installation's collection

Chroma's delete leaves vectors in its files, so a folder that may hold a forgotten one is deleted as a whole.
Searches read the store until it has been filled again.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import sys
import time
import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, cast

from memory.errors import IndexUnavailable
from memory.ports import Embedder, Vectors
from memory.storage import Database, Settings, StoredVectors
from memory.vectors.supervisor import Restarts, Worker, WorkerFailed, program
from memory.vectors.workers import index as worker_program
from memory.vectors.workers.index import BATCH, FAILED

__all__ = ["Index", "IndexFolder"]

_log = logging.getLogger(__name__)

_LAYOUT = 2
_QUIET_S = 10.0  # after the last deletion: many deletions shall cost one refill
_SEARCH_WAIT_S = 0.1  # a search waits no longer for other calls; it can read the store
_OPENING_S = 60.0  # loading chromadb on a busy machine
_SILENCE_S = 30.0  # then the worker has hung
_CLOSE_S = 10.0


class Index:
    """The index of one store. Every process has one of these; only one process owns its files.

    Args:
        embedder: whose vectors it holds; None: the index can only be deleted.
        folder: need not exist.
        url: of a Chroma server (http://host:port) to use instead. There deletions are plain deletes, and the
            server decides when to erase the bytes. Chroma reads its credentials from
            `CHROMA_CLIENT_AUTH_PROVIDER` and `CHROMA_CLIENT_AUTH_CREDENTIALS`.

    Attributes:
        complete: it holds every stored vector, so searches may use it.
    """

    def __init__(
        self,
        database: Database,
        vectors: StoredVectors,
        settings: Settings,
        *,
        embedder: Embedder | None,
        folder: Path,
        url: str | None,
    ) -> None:
        self.complete = False
        self._database = database
        self._vectors = vectors
        self._settings = settings
        self._space = _space_of(embedder)
        self._url = url
        self._turn = Lock()  # guards everything below
        self._folder = IndexFolder(folder)
        self._worker: Worker | None = None
        self._epoch: str | None = None  # the store's when the index last held nothing that the store had not
        self._missing: list[int] = []  # passages to add, the newest last
        self._due = 0.0  # not opened before
        self._restarts = Restarts()

    def own(self) -> bool:
        """Become the owner, unless another process is. Raises `IndexUnavailable`."""
        with self._turn:
            try:
                return self._folder.own()
            except OSError as exc:
                raise IndexUnavailable(
                    f"The vector index {self._folder.path} cannot be written: {exc.strerror or exc}. "
                    "Check the folder, its permissions and the free space."
                ) from exc

    @property
    def due_in_s(self) -> float | None:
        """Seconds until `work` has something to do; None if nothing is planned."""
        if self.complete or self._folder.lock is None:
            return None
        return max(self._due - time.monotonic(), 0.0)

    def serve(self, embedder: Embedder) -> None:
        """Hold this embedder's vectors from now on; for the owner."""
        with self._turn:
            if self._space != (space := _space_of(embedder)):
                self._stop()
                self._space = space

    def search(
        self, embedder: str, vector: Vectors, count: int, hidden: Collection[int]
    ) -> list[tuple[int, float]] | None:
        """The nearest passages with their cosine similarity; None if it cannot answer now.

        Args:
            embedder: the name of the one that made the vector.
            hidden: chats whose passages do not count.
        """
        if not self.complete or not self._turn.acquire(timeout=_SEARCH_WAIT_S):
            return None
        try:
            if self._worker is None or self._missing or self._required_space.name != embedder:  # meanwhile
                return None
            return cast(list[tuple[int, float]], self._ask("search", vector, count, list(hidden)))
        except WorkerFailed as failure:
            self._give_up(failure)
            return None
        finally:
            self._turn.release()

    def work(self) -> bool:
        """Take one step of what is due: forget, open, or add some vectors. For the owner.

        Returns:
            Whether there may be more to do now.
        """
        with self._turn:
            try:
                return self._forget() or self._open() or self._fill()
            except (WorkerFailed, OSError) as failure:
                self._give_up(failure)
                return False

    def add(self, embedder: str, passages: Sequence[int]) -> None:
        """Add vectors that were just stored, unless the index is closed (opening it adds them) or holds those
        of another embedder."""
        with self._turn:
            if self._worker is not None and self._required_space.name == embedder:
                try:
                    self._add(passages)
                except WorkerFailed as failure:
                    self._give_up(failure)

    def erase(self) -> bool:
        """Take what the store deleted out of the index as well.

        Returns:
            Whether that is done. If not, the owner does it when it next compares the epochs.
        """
        if not self._folder.path.exists() or self._store_epoch() == self._epoch:
            return True
        if self._url is None and (worker := self._worker) is not None:
            self.complete = False
            worker.kill()  # whatever it is doing for the thread that has the turn
        with self._turn:
            was_owner = self._folder.lock is not None
            try:
                if not self._folder.own():
                    return False
                if self._url is not None and self._space is not None:
                    self._open()
                return self._forget() or self._store_epoch() == self._epoch
            except (WorkerFailed, OSError) as failure:
                self._give_up(failure)
                return False
            finally:
                if not was_owner:
                    self._release()

    def close(self) -> None:
        """Close it properly, or kill its worker if that takes too long. Safe to call twice."""
        if not self._turn.acquire(timeout=_CLOSE_S):
            if (worker := self._worker) is not None:
                worker.kill()
            self._turn.acquire()
        try:
            if self._folder.lock is not None:
                with suppress(WorkerFailed, OSError):
                    self._forget()
            self._release()
        finally:
            self._turn.release()

    # The rest runs while holding the turn.

    def _forget(self) -> bool:
        """Delete what the store no longer has; on a server only if it is open: opening it does so, too."""
        epoch = self._store_epoch()
        if epoch == self._epoch or (self._url is not None and self._worker is None):
            return False
        if self._url is not None:
            self._remove_unknown()
        else:
            self._stop()
            if not self._is_valid(epoch):  # while it is open it has no stamp
                self._folder.delete()
            if self._epoch is not None:
                self._due = max(self._due, time.monotonic() + _QUIET_S)
        self._epoch = epoch
        return True

    def _open(self) -> bool:
        if self._worker is not None or time.monotonic() < self._due:
            return False
        epoch = self._store_epoch() if self._url is not None else self._epoch
        if self._url is not None or not self._is_valid(epoch):
            self._folder.delete()
        self._folder.prepare()
        self._start(epoch)
        present = self._remove_unknown()
        self._epoch = epoch
        stored = self._database.call(self._vectors.ids, self._required_space.name)
        self._missing = sorted(set(stored).difference(present))
        self.complete = not self._missing
        return True

    def _fill(self) -> bool:
        if self._worker is None or self.complete:
            return False
        self._add(self._missing[-BATCH:])
        del self._missing[-BATCH:]
        self.complete = not self._missing
        return True

    def _add(self, passages: Sequence[int]) -> None:
        from memory.vectors.exact import to_matrix  # loads numpy

        # Read while holding the turn: what is deleted from the store after this is deleted here after it.
        stored = self._database.call(self._vectors.get, self._required_space.name, passages)
        sound, matrix = to_matrix(stored, self._required_space.dimension)
        if sound:
            chats = [vector.chat for vector in sound]
            self._ask("add", [vector.passage for vector in sound], chats, matrix)

    def _remove_unknown(self) -> list[int]:
        """Make sure that it has no passage without a stored vector; returns those it has."""
        present = cast(list[int], self._ask("ids"))
        stored = set(self._database.call(self._vectors.ids, self._required_space.name))
        if unknown := [number for number in present if number not in stored]:
            if self._url is None:
                raise WorkerFailed("it holds vectors that the store does not have")
            self._ask("remove", unknown)
        return [number for number in present if number in stored]

    def _start(self, epoch: str | None) -> None:
        identity, lock = self._identity(), self._folder.lock
        assert lock is not None
        self._worker = Worker(program(worker_program.__file__), silence_s=_SILENCE_S, keep_open=[lock])
        self._ask(
            "open",
            self._url or str(self._folder.chroma),
            self._folder.served_name() if self._url is not None else "passages",
            identity,
            None if self._url is not None else (str(self._folder.stamp), {**identity, "epoch": epoch}),
            timeout_s=_OPENING_S,
        )

    def _ask(self, name: str, *arguments: object, timeout_s: float | None = None) -> Any:
        if self._worker is None:
            raise WorkerFailed("it is closed")
        request = pickle.dumps((name, arguments), protocol=pickle.HIGHEST_PROTOCOL)
        answer = self._worker.ask(request, timeout_s or _SILENCE_S)
        try:
            kind, value = pickle.loads(answer)
        except Exception as exc:  # whatever pickle makes of garbage
            raise WorkerFailed("its answer is invalid") from exc
        if kind == FAILED:
            raise WorkerFailed(str(value))
        return value

    def _give_up(self, failure: Exception) -> None:
        """Drop the worker, and the files, since the cause may be in them."""
        killed = self._worker is not None and self._worker.killed
        self._stop()
        if not killed:
            _log.warning("The vector index at %s failed: %s", self._url or self._folder.path, failure)
            self._due = time.monotonic() + self._restarts.record_failure()
        if self._url is not None:
            self._epoch = None  # what is on the server is not known
            return
        with suppress(OSError):
            self._folder.delete()

    def _release(self) -> None:
        self._stop(_CLOSE_S)
        self._folder.disown()

    def _stop(self, grace_s: float = 0.0) -> None:
        worker, self._worker, self.complete = self._worker, None, False
        if worker is not None:
            worker.close(grace_s)

    def _is_valid(self, epoch: str | None) -> bool:
        return {**self._identity(), "epoch": epoch}.items() <= self._folder.read_stamp().items()

    def _identity(self) -> dict[str, Any]:
        """What tells this index from others; without an embedder, a part of that."""
        store = self._database.call(lambda: self._settings.store)
        identity: dict[str, Any] = {"layout": _LAYOUT, "store": store}
        if self._space is not None:
            identity |= {"embedder": self._space.name, "dimension": self._space.dimension}
        return identity

    def _store_epoch(self) -> str:
        return self._database.call(lambda: self._settings.index_epoch)

    @property
    def _required_space(self) -> _Space:
        assert self._space is not None
        return self._space


class _Space(NamedTuple):
    """Whose vectors they are: the embedder's name, and how many numbers each has."""

    name: str
    dimension: int


def _space_of(embedder: Embedder | None) -> _Space | None:
    return None if embedder is None else _Space(embedder.name, embedder.dimension)


class IndexFolder:
    """The files of an index: who owns them, and whose vectors they hold. Knows nothing about Chroma.

    Attributes:
        lock: the descriptor of the lock, if this process has it. A worker that inherits it keeps the folder
            locked until it ends; the system releases the lock when all its holders are dead.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chroma = path / "chroma"
        self.stamp = path / "stamp.json"
        self.lock: int | None = None
        self._id_file = path / "server-owner"

    def own(self) -> bool:
        """Lock it, unless another process has."""
        if self.lock is None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Never deleted: a process that locks a deleted file would not see the next one's lock.
            file = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
            if sys.platform != "win32":  # no lock there
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as exc:
                    os.close(file)
                    if isinstance(exc, BlockingIOError):
                        return False
                    raise
            self.lock = file
        return True

    def disown(self) -> None:
        """Release the lock."""
        lock, self.lock = self.lock, None
        if lock is not None:
            os.close(lock)

    def read_stamp(self) -> dict[str, Any]:
        """Whose vectors these are; empty if they were not closed properly."""
        with suppress(OSError, ValueError):
            stamp = json.loads(self.stamp.read_text(encoding="utf-8"))
            return stamp if isinstance(stamp, dict) else {}
        return {}

    def prepare(self) -> None:
        """Create it; from now on it counts as not closed properly."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.stamp.unlink(missing_ok=True)

    def delete(self) -> None:
        """Delete everything but the id on a server."""
        self.stamp.unlink(missing_ok=True)  # first: what is half deleted is not valid
        for path in self.path.iterdir() if self.path.exists() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != self._id_file:
                path.unlink()

    def served_name(self) -> str:
        """This installation's collection on a server, which a copy of the store may use as well."""
        with suppress(FileExistsError), self._id_file.open("x", encoding="ascii") as file:
            file.write(uuid.uuid4().hex)
        return f"stevemin-{self._id_file.read_text(encoding='ascii').strip()}"
