"""An embedded vector index that can forget: shards, each in a Chroma folder that is replaced as a whole.

Chroma's delete leaves vectors in its files, so taking one out means copying what stays to a new folder.
A shard holds the passages of one range of ids, which bounds that copy however large the index grows
(Lucene's segments serve the same end). A search asks every shard and merges.

Copies vectors to a new Chroma folder: what is not copied is gone when the old folder is deleted.
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

__all__ = [
    "LAYOUT",
    "SHARD_SIZE",
    "ShardedIndex",
    "check_room",
    "copy_vectors",
]


SHARD_SIZE = 1 << 14  # ids; about six seconds to copy, and seven shards for 100,000 passages
LAYOUT = f"1/{SHARD_SIZE}"  # part of the collection's name: another layout starts over
_SEARCH_THREADS = 4  # Chroma lets go of the interpreter's lock while it searches


class ShardedIndex:
    """Serves one folder; makes what is missing, drops what is damaged.

    After an unclean end nothing of the search graphs is trusted: a torn one can end the process, or grow
    without bound (Chroma #7238, #7510). The vectors are read, checked and entered into new shards.

    Args:
        folder: locked; is closed together with this.
        fresh: start empty, whatever is there.
        on_progress: called now and then during what takes long.

    Attributes:
        rebuilt: something was dropped, or nothing was there: `ids` tells what is left.

    Raises (every method):
        IndexUnavailable: the disk refuses, or Chroma does.
    """

    def __init__(
        self, folder: IndexFolder, *, fresh: bool = False, on_progress: Callable[[], None] = lambda: None
    ) -> None:
        self._folder = folder
        self._on_progress = on_progress
        self._shards: dict[int, PassageCollection] = {}
        self._pool = ThreadPoolExecutor(_SEARCH_THREADS)
        self._sound = True  # False: Chroma failed, so its files may hold what it does not admit to
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

    def search(self, vector: Vectors, count: int) -> list[tuple[int, float]]:
        """The nearest passages of all shards."""
        shards = list(self._shards.values())
        with self._watched():
            if len(shards) == 1:
                return shards[0].search(vector, count)
            hits = self._pool.map(lambda shard: shard.search(vector, count), shards)
            found = [hit for of_shard in hits for hit in of_shard]
        return heapq.nlargest(count, found, key=lambda hit: hit[1])

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Enter or replace vectors; a shard is made when its first passage comes."""
        with self._watched():
            for number, rows in _by_shard(ids).items():
                self._shard(number).add([ids[row] for row in rows], vectors[rows])

    def remove(self, ids: Collection[int]) -> None:
        """Copy what stays of the shards concerned, then delete their old files.

        Where that fails (a full disk), those shards are emptied instead and `IndexUnavailable` says so:
        they can be filled again, and forgetting comes first.
        """
        leaving = self._leaving(ids)
        if not leaving:
            return
        try:
            self._replace({shard: self._copy(shard, numbers) for shard, numbers in leaving.items()})
        except Exception as exc:
            self._drop(leaving)
            raise IndexUnavailable(
                f"A part of the vector index {self._folder.path} had to be emptied to remove passages "
                "from it; it is filled again."
            ) from exc

    def ids(self) -> set[int]:
        """Every passage of all shards."""
        with self._watched():
            return {number for shard in self._shards.values() for number in shard.ids()}

    def clear(self) -> None:
        """Delete every shard."""
        self._drop(list(self._folder.generations))

    def close(self) -> None:
        """Close every file, say that all is well, and let others have the folder."""
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
        """Open a shard and search it once, so that damage shows now; one that cannot be read is dropped."""
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
        # Chroma would make a missing folder without a word.
        path = self._folder.generations[number]
        if not path.is_dir():
            raise FileNotFoundError(path)
        return path

    def _renew(self, number: int) -> None:
        """Carry the vectors over to a new shard; one with vectors that make no sense is dropped."""
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

    def _leaving(self, ids: Collection[int]) -> dict[int, set[int]]:
        """What of `ids` each shard has."""
        leaving: dict[int, set[int]] = {}
        with self._watched():
            for number, shard in self._shards.items():
                wanted = {each for each in ids if each // SHARD_SIZE == number}
                # After a failure a vector may be in the files of a shard that does not list it.
                if there := wanted & shard.ids() if wanted and self._sound else wanted:
                    leaving[number] = there
        return leaving

    def _copy(self, number: int, leaving: Collection[int] = ()) -> Path | None:
        """A new generation with what stays; None when nothing does."""
        staying = sorted(self._shards[number].ids().difference(leaving))
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
        """Delete shards with all their files, before they are committed away: there may be no room."""
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
    """Positions in `ids` by the shard that the id belongs to."""
    rows: dict[int, list[int]] = {}
    for row, number in enumerate(ids):
        rows.setdefault(number // SHARD_SIZE, []).append(row)
    return rows


_ROOM_FACTOR = 1.5  # Chroma's logs make a copy larger while it is written
_LENGTH_TOLERANCE = 1e-2


def copy_vectors(
    old: PassageCollection, ids: Sequence[int], path: Path, name: str, on_progress: Callable[[], None]
) -> None:
    """Enter the vectors of `ids` into a collection in the empty folder `path`, and close it.

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
