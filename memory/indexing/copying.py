"""Copies vectors to a new Chroma folder: what is not copied is gone when the old folder is deleted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from memory.errors import IndexUnavailable
from memory.indexing.chroma import PassageCollection, batches, open_folder
from memory.ports import Vectors

__all__ = ["check_room", "copy_vectors"]

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
