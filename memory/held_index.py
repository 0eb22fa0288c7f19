"""The vector index of one process: opened when it is first written, held until the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from memory.ports import VectorIndex

__all__ = ["HeldIndex"]


class HeldIndex:
    """Hands the index to one writer at a time; searches do not wait for writers. Thread-safe.

    Args:
        folder: where it lies, once it has been made.
        open_index: opens or makes it; raises `IndexUnavailable`.

    Attributes:
        in_step: it has the vectors that the store says it has. Writers set this.
    """

    def __init__(self, folder: Path, open_index: Callable[[], VectorIndex]) -> None:
        self.in_step = False
        self._folder = folder
        self._open_index = open_index
        self._index: VectorIndex | None = None
        self._turn = RLock()

    @property
    def current(self) -> VectorIndex | None:
        """The index, if it is open; never blocks."""
        return self._index

    @property
    def exists(self) -> bool:
        """Whether there are vectors, in this process or on disk."""
        return self._index is not None or self._folder.exists()

    @contextmanager
    def writing(self, *, keep: bool = True) -> Iterator[VectorIndex]:
        """The index, for this thread alone. Opening it takes a second or two.

        Args:
            keep: leave it open. Otherwise it is closed again if it was not open before.

        Raises:
            IndexUnavailable: it cannot be opened; another process has it, for example.
        """
        with self._turn:
            was_open = self._index is not None
            index = self._index = self._index or self._open_index()
            try:
                yield index
            finally:
                if not (keep or was_open):
                    self.close()

    def close(self) -> None:
        """Wait for whoever writes, then let go of the files. Calling it twice is fine."""
        with self._turn:
            index, self._index = self._index, None
            if index is not None:
                index.close()
