"""An embedded vector index that can forget: shards, each in a Chroma folder that is replaced as a whole.

Chroma's delete leaves vectors in its files, so removing one means copying the others to a new folder and
deleting the old one. A shard holds the passages of one range of ids, which bounds that copy however large
the index grows (Lucene's segments serve the same purpose). A search queries every shard and merges.
"""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from memory.errors import IndexUnavailable
from memory.ports import Vectors
from memory.vectors.collections import PassageCollection, batches, open_folder
from memory.vectors.folder import IndexFolder

__all__ = ["LAYOUT", "SHARD_SIZE", "ShardedIndex", "check_room", "copy_vectors"]

SHARD_SIZE = 1 << 14  # ids; about six seconds to copy, and seven shards for 100,000 passages
LAYOUT = f"1/{SHARD_SIZE}"  # part of the collection's name: another layout starts over
_SEARCH_THREADS = 4  # Chroma releases the interpreter's lock while it searches


class ShardedIndex:
    """Serves one folder; creates what is missing, drops what is damaged.

    After an unclean end no search graph is trusted: a torn one can crash the process, or grow without bound
    (Chroma #7238, #7510). The vectors are read, checked and added to new shards.

    Args:
        folder: locked; is closed together with this.
        fresh: start empty, even if there are files.
        on_progress: called repeatedly during long work.

    Attributes:
        rebuilt: it was empty, or something was dropped: `ids` tells what is left.

    Raises (every method):
        IndexUnavailable: the disk or Chroma failed.
    """

    def __init__(
        self, folder: IndexFolder, *, fresh: bool = False, on_progress: Callable[[], None] = lambda: None
    ) -> None:
        self._folder = folder
        self._on_progress = on_progress
        self._shards: dict[int, PassageCollection] = {}
        self._pool = ThreadPoolExecutor(_SEARCH_THREADS)
        self._sound = True  # False: Chroma failed, so its files may hold vectors that it does not list
        self.rebuilt = fresh or not folder.known
        was_clean = folder.take_clean_mark()
        if self.rebuilt:
            folder.commit({})
        folder.sweep()
        for shard in sorted(folder.generations):
            self._open(shard)
        if not was_clean:
            for shard in sorted(self._shards):
                self._renew(shard)

    def search(
        self, vector: Vectors, count: int, within: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """The nearest passages of all shards, or of those in `within`."""
        wanted: dict[int, Collection[int] | None] = dict.fromkeys(self._shards)
        if within is not None:
            ids = sorted(within)
            wanted = {shard: [ids[row] for row in rows] for shard, rows in _by_shard(ids).items()}

        def search_one(number: int) -> list[tuple[int, float]]:
            return self._shards[number].search(vector, count, wanted[number])

        shards = [number for number in wanted if number in self._shards]
        with self._watched():
            if len(shards) == 1:
                return search_one(shards[0])
            found = [hit for of_shard in self._pool.map(search_one, shards) for hit in of_shard]
        return heapq.nlargest(count, found, key=lambda hit: hit[1])

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Add or replace vectors; the first passage of a shard creates it."""
        with self._watched():
            for number, rows in _by_shard(ids).items():
                self._shard(number).add([ids[row] for row in rows], vectors[rows])

    def remove(self, ids: Collection[int]) -> None:
        """Copy what stays in the affected shards, then delete their old files.

        If that fails (a full disk), those shards are emptied instead, and `IndexUnavailable` is raised:
        they can be refilled, and forgetting comes first.
        """
        removed = self._affected(ids)
        if not removed:
            return
        try:
            self._replace({shard: self._copy(shard, numbers) for shard, numbers in removed.items()})
        except Exception as exc:
            self._drop(removed)
            raise IndexUnavailable(
                f"Part of the vector index {self._folder.path} had to be emptied to remove passages; "
                "it is being refilled."
            ) from exc

    def ids(self) -> set[int]:
        """Ids of the passages in all shards."""
        with self._watched():
            return {number for shard in self._shards.values() for number in shard.ids()}

    def clear(self) -> None:
        """Delete every shard."""
        self._drop(list(self._folder.generations))

    def close(self) -> None:
        """Close every file, record that all is well, and release the folder."""
        try:
            for shard in self._shards.values():
                shard.close()
            self._shards = {}
            self._pool.shutdown()
            if self._sound:
                self._folder.leave_clean_mark()
        finally:
            self._folder.close()

    def _open(self, number: int) -> None:
        """Open a shard and search it once, so that damage shows now; drop it if it cannot be read."""
        self._on_progress()
        try:
            shard = open_folder(self._existing(number), self._folder.collection)
            self._shards[number] = shard
            ids, vectors = shard.vectors(sorted(shard.ids())[:1])
            if ids:
                shard.search(vectors[0], 1)
        except Exception:
            self._drop([number])
            self.rebuilt = True

    def _existing(self, number: int) -> Path:
        # Chroma would silently create a missing folder.
        path = self._folder.generations[number]
        if not path.is_dir():
            raise FileNotFoundError(path)
        return path

    def _renew(self, number: int) -> None:
        """Copy the vectors to a new shard; drop the shard if they are damaged."""
        check_room(self._folder.generations[number])
        try:
            self._replace({number: self._copy(number)})
        except Exception:
            self._drop([number])
            self.rebuilt = True

    def _shard(self, number: int) -> PassageCollection:
        if number not in self._shards:
            path = self._folder.new_generation()
            self._folder.commit({**self._folder.generations, number: path})
            self._shards[number] = open_folder(path, self._folder.collection)
        return self._shards[number]

    def _affected(self, ids: Collection[int]) -> dict[int, set[int]]:
        """Which of the ids each shard has."""
        removed: dict[int, set[int]] = {}
        with self._watched():
            for number, shard in self._shards.items():
                wanted = {each for each in ids if each // SHARD_SIZE == number}
                # After a failure a vector may be in the files of a shard that does not list it.
                if there := wanted & shard.ids() if wanted and self._sound else wanted:
                    removed[number] = there
        return removed

    def _copy(self, number: int, removed: Collection[int] = ()) -> Path | None:
        """A new generation with what stays; None if nothing stays."""
        staying = sorted(self._shards[number].ids().difference(removed))
        if not staying:
            return None
        path = self._folder.new_generation()
        copy_vectors(self._shards[number], staying, path, self._folder.collection, self._on_progress)
        return path

    def _replace(self, generations: Mapping[int, Path | None]) -> None:
        """Switch to new generations; the old files are gone when this returns."""
        for number in generations:
            self._shards.pop(number).close()
        merged = {**self._folder.generations, **generations}
        self._folder.commit({number: path for number, path in merged.items() if path})
        self._folder.sweep()
        for number, path in generations.items():
            if path:
                self._shards[number] = open_folder(path, self._folder.collection)

    def _drop(self, numbers: Collection[int]) -> None:
        """Delete shards, their files first: a full disk may have no room for the commit."""
        for number in numbers:
            if shard := self._shards.pop(number, None):
                shard.close()
            self._folder.delete(number)
        left = {shard: path for shard, path in self._folder.generations.items() if shard not in numbers}
        self._folder.commit(left)
        self._folder.sweep()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._sound = False
            raise


def _by_shard(ids: Sequence[int]) -> dict[int, list[int]]:
    """Positions in `ids`, by the shard that each id belongs to."""
    rows: dict[int, list[int]] = {}
    for row, number in enumerate(ids):
        rows.setdefault(number // SHARD_SIZE, []).append(row)
    return rows


_ROOM_FACTOR = 1.5  # Chroma's logs make a copy larger while it is written
_LENGTH_TOLERANCE = 1e-2


def copy_vectors(
    old: PassageCollection, ids: Sequence[int], path: Path, name: str, on_progress: Callable[[], None]
) -> None:
    """Copy the vectors of `ids` into a collection in the empty folder `path`, and close it.

    Raises:
        ValueError: a vector is missing or not of length 1, so the old files are damaged.
    """
    with closing(open_folder(path, name)) as new:
        for batch in batches(ids):
            on_progress()
            there, vectors = old.vectors(batch)
            _check(vectors, len(batch))
            new.add(there, vectors)


def check_room(path: Path) -> None:
    """Raise `IndexUnavailable` unless the disk has room for a copy of this folder."""
    files = [file for file in path.rglob("*") if file.is_file()]
    needed = int(sum(file.stat().st_size for file in files) * _ROOM_FACTOR)
    if shutil.disk_usage(path).free < needed:
        raise IndexUnavailable(
            f"The vector index {path.parent} must be copied after an unclean end, which takes "
            f"{needed >> 20:,} MiB. Free some space and try again."
        )


def _check(vectors: Vectors, expected: int) -> None:
    lengths = np.linalg.norm(vectors, axis=-1)
    if len(vectors) != expected or not bool(np.all(np.abs(lengths - 1.0) < _LENGTH_TOLERANCE)):
        raise ValueError("stored vectors are damaged")
