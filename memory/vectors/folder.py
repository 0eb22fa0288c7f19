"""The folder of an embedded vector index: who owns it, and which of its files are valid.

    index.lock        beside the folder; held while a process has it open
    index/
        current.json  names the store, and the generation of each shard:
                      {"collection": …, "store": …, "shards": {"0": "gen-0003"}}
        clean         exists only between a proper close and the next opening
        gen-0003/     one Chroma database

Files are never edited to remove something. What stays is written to a new generation, `current.json` is
replaced in one step, and the old generation is deleted: a crash at any moment leaves one valid state, and
the next opening deletes its leftovers. Knows nothing about Chroma.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from memory.errors import IndexUnavailable

__all__ = ["IndexFolder"]

_GENERATION = re.compile(r"gen-(\d{4,})")
_LOCK_WAIT_S = 1.0  # a worker whose chat was killed needs a moment to notice


class IndexFolder:
    """Locks the folder and reads which generations are valid. A missing folder is made with mode 0700.

    Args:
        store: identity of the store whose vectors these are. A folder that names none (older versions wrote
            none) is taken for this store's.

    Attributes:
        generations: the folder of each shard.
        known: whether `current.json` existed, was readable, and names this collection and this store.

    Raises (every method):
        IndexUnavailable: another process has it, or the system refuses to read or write.
    """

    def __init__(self, path: Path, collection: str, store: str = "") -> None:
        self.path = path
        self.collection = collection
        self._store = store
        self._names_no_store = False
        self._pointer = path / "current.json"
        self._mark = path / "clean"
        self._lock: int | None = None
        with _on_disk(path):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _take_lock(path)
        self._last = 0  # generation; numbers are never reused, since Chroma remembers each path it had open
        recorded = self._read()
        self.known = recorded is not None
        self.generations: dict[int, Path] = recorded or {}
        if self.known and self._names_no_store:
            self.commit(self.generations)

    def take_clean_mark(self) -> bool:
        """Whether the last owner closed it properly; from now on it counts as unclean."""
        with _on_disk(self.path):
            was_clean = self._mark.exists()
            self._mark.unlink(missing_ok=True)
            return was_clean

    def leave_clean_mark(self) -> None:
        """Record that everything was closed properly."""
        with _on_disk(self.path):
            self._mark.touch(mode=0o600)

    def new_generation(self) -> Path:
        """An empty folder that is not valid until it is committed."""
        with _on_disk(self.path):
            there = [int(found[1]) for name in self._names() if (found := _GENERATION.fullmatch(name))]
            self._last = max(self._last, *there, 0) + 1
            path = self.path / f"gen-{self._last:04}"
            path.mkdir(mode=0o700)
            return path

    def commit(self, generations: Mapping[int, Path]) -> None:
        """Make exactly these generations valid. Atomic, and on disk when it returns."""
        shards = {str(shard): path.name for shard, path in generations.items()}
        written = self.path / "current.json.new"
        with _on_disk(self.path):
            with written.open("w", encoding="utf-8") as file:
                json.dump({"collection": self.collection, "store": self._store, "shards": shards}, file)
                file.flush()
                os.fsync(file.fileno())
            written.replace(self._pointer)
            _sync_folder(self.path)
        self.generations = dict(generations)

    def sweep(self) -> None:
        """Delete every generation that is not valid."""
        counting = {path.name for path in self.generations.values()}
        with _on_disk(self.path):
            for name in self._names():
                if _GENERATION.fullmatch(name) and name not in counting:
                    shutil.rmtree(self.path / name)

    def delete(self, shard: int) -> None:
        """Delete a shard's files before the commit that drops it: a full disk may have no room to commit."""
        with _on_disk(self.path):
            if shard in self.generations and self.generations[shard].exists():
                shutil.rmtree(self.generations[shard])

    def discard(self) -> None:
        """Delete everything in it."""
        with _on_disk(self.path):
            self._pointer.unlink(missing_ok=True)
        self.generations = {}
        self.sweep()

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _names(self) -> list[str]:
        return os.listdir(self.path)

    def _read(self) -> dict[int, Path] | None:
        with _on_disk(self.path):
            text = (
                self._pointer.read_text(encoding="utf-8", errors="replace") if self._pointer.exists() else ""
            )
        try:
            recorded = json.loads(text)
            if recorded["collection"] != self.collection:
                return None
            self._names_no_store = bool(self._store) and not recorded.get("store")
            if self._store and not self._names_no_store and recorded["store"] != self._store:
                return None
            shards = {int(shard): self.path / name for shard, name in recorded["shards"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return shards if all(_GENERATION.fullmatch(path.name) for path in shards.values()) else None


def _take_lock(path: Path) -> int | None:
    """Lock the folder; the kernel releases the lock when the process dies. Windows gets no lock."""
    if sys.platform == "win32":
        return None
    import fcntl

    # The file is never deleted: a process that locks a deleted file would not see the next one's lock.
    file = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(file)
                raise IndexUnavailable(
                    f"The vector index {path} is used by another stevemin; searching by keywords only."
                ) from None
            time.sleep(0.05)
        except OSError:
            os.close(file)
            raise


def _sync_folder(path: Path) -> None:
    if sys.platform == "win32":
        return
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise IndexUnavailable(
            f"The vector index {path} cannot be written: {exc.strerror or exc}. "
            "Check the folder, its permissions and the free space."
        ) from exc
