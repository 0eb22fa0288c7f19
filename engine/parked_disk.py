"""Which blocks of the file hold which KV states that found no room in RAM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.parked_io import BLOCK_BYTES, FileThread, Spill
from engine.step import State

__all__ = ["SpillFile"]

_LARGE = 64  # blocks; a file that had more is truncated when nothing is left in it


class SpillFile:
    """A temporary file of blocks, written and read by a thread of its own.

    All methods are for one thread, and none but `close` waits for the disk. Neither file nor thread exists
    before the first write.

    Args:
        folder: where the file is made; None: nothing is written.
        capacity: the most bytes the file may have, rounded down to whole blocks.
        wake: called by the other thread whenever a state was written or read, well or not.
    """

    def __init__(self, folder: Path | None, capacity: int, wake: Callable[[], None]) -> None:
        self._folder = folder
        self._wake = wake
        self._blocks = 0 if folder is None else capacity // BLOCK_BYTES
        self._free: list[int] = []
        self._end = 0  # blocks the file has
        self._busy = 0
        self._thread: FileThread | None = None

    @property
    def used(self) -> int:
        """Bytes of the blocks in use."""
        return (self._end - len(self._free)) * BLOCK_BYTES

    @property
    def busy(self) -> bool:
        """Whether work is under way, if only on something that was given up."""
        return self._busy > 0

    def takes(self, size: int) -> bool:
        """Whether a state of so many bytes can be written, given enough free blocks."""
        return 0 < -(-size // BLOCK_BYTES) <= self._blocks and not (self._thread and self._thread.broken)

    def write(self, key: str, state: State, size: int) -> Spill | None:
        """Begin to write a state, which must not change meanwhile; None when too few blocks are free."""
        needed = -(-size // BLOCK_BYTES)
        if not self.takes(size) or needed > self._blocks - self.used // BLOCK_BYTES:
            return None
        if self._thread is None:
            assert self._folder is not None
            self._thread = FileThread(self._folder, self._wake)
        spill = Spill(key, size, self._allocate(needed), state, busy=True)
        self._busy += 1
        self._thread.write(spill)
        return spill

    def read(self, spill: Spill) -> None:
        """Begin to read back a state that was written."""
        assert self._thread is not None
        spill.busy = True
        self._busy += 1
        self._thread.read(spill)

    def free(self, spill: Spill) -> None:
        """Give up a state; its blocks are free when the thread, too, has let go of it."""
        if spill.busy:
            spill.cancelled = True
        else:
            self._release(spill)

    def finished(self) -> list[Spill]:
        """What was written or read since the last call, well or not."""
        done: list[Spill] = []
        while self._thread is not None and (spill := self._thread.next_done()) is not None:
            self._busy -= 1
            spill.busy = False
            if spill.cancelled:
                self._release(spill)
            else:
                done.append(spill)
        return done

    def close(self) -> None:
        """Stop the thread and close the file; everything in it is gone."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def _allocate(self, count: int) -> list[int]:
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = range(self._end, self._end + count - len(reused))
        self._end += len(fresh)
        return [*reused, *fresh]

    def _release(self, spill: Spill) -> None:
        spill.state = None
        self._free += spill.blocks
        if len(self._free) == self._end:
            if self._end > _LARGE and self._thread is not None:
                self._thread.truncate()
            self._free, self._end = [], 0
