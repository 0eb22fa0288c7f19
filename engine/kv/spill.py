"""The thread that writes KV states to a temporary file and reads them back.

Which blocks of the file hold which KV states that found no room in RAM.
"""

from __future__ import annotations

import logging
import os
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import numpy as np

from engine.step import State

__all__ = [
    "BLOCK_BYTES",
    "FileThread",
    "Spill",
    "SpillFile",
]


BLOCK_BYTES = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Spill:
    """A state in the file, or on its way there or back.

    While work on it is under way it belongs to the thread; the owner may only set `cancelled`.

    Args:
        key: for the owner.
        size: bytes of the state.
        blocks: where in the file it is.
        state: what is to be written, or what was read.
        checksum: CRC-32 of what was written.
        busy: work is under way; kept by the owner.
        cancelled: the work is not needed any more.
        failed: the state was not written, or was lost.
    """

    key: str
    size: int
    blocks: list[int]
    state: State | None = field(repr=False)
    checksum: int = 0
    busy: bool = False
    cancelled: bool = False
    failed: bool = False

    def pieces(self) -> list[tuple[int, int, int]]:
        """Begin and end in the state, and offset in the file, of each block."""
        starts = range(0, self.size, BLOCK_BYTES)
        return [
            (start, min(start + BLOCK_BYTES, self.size), block * BLOCK_BYTES)
            for start, block in zip(starts, self.blocks, strict=True)
        ]


class FileThread:
    """Does one piece of work after the other, in the order it was asked for.

    The file is anonymous: it has no name, so that no end of the process leaves it behind. It is opened by the
    first piece of work. After an error nothing more is written: one warning, and what is in the file can
    still be read.

    Args:
        folder: where the file is made; the folder, too, if it is missing.
        wake: called after each piece of work.
    """

    def __init__(self, folder: Path, wake: Callable[[], None]) -> None:
        self.broken = False
        self._folder = folder
        self._wake = wake
        self._file: FileIO | None = None
        self._stopping = False
        self._work: SimpleQueue[tuple[Callable[[Spill], None], Spill] | None] = SimpleQueue()
        self._done: SimpleQueue[Spill] = SimpleQueue()
        self._thread = Thread(target=self._run, name="parking", daemon=True)
        self._thread.start()

    def write(self, spill: Spill) -> None:
        """Write a state, which must not change meanwhile."""
        self._work.put((self._write, spill))

    def read(self, spill: Spill) -> None:
        """Read a state back."""
        self._work.put((self._read, spill))

    def truncate(self) -> None:
        """Make the file empty, after what was asked for before."""
        self._work.put((self._truncate, Spill("", 0, [], None)))

    def next_done(self) -> Spill | None:
        """The next state that was written or read, well or not, or was cancelled."""
        try:
            return self._done.get_nowait()
        except Empty:
            return None

    def close(self) -> None:
        """Stop after the block that is being written or read, and close the file."""
        self._stopping = True
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, spill = item
            try:
                work(spill)
            except Exception as error:  # whatever it is: if this thread died, the state would be waited for
                spill.failed = True
                self._give_up(error)
            if spill.blocks:
                self._done.put(spill)
                self._tell()
        if self._file is not None:
            self._file.close()

    def _write(self, spill: Spill) -> None:
        assert spill.state is not None
        state, checksum = memoryview(spill.state).cast("B"), 0
        for begin, end, offset in spill.pieces():
            if spill.cancelled or self._stopping:
                return
            if self.broken:
                spill.failed = True
                return
            piece = state[begin:end]
            checksum = zlib.crc32(piece, checksum)
            _write_all(self._open().fileno(), piece, offset)
        spill.checksum = checksum

    def _read(self, spill: Spill) -> None:
        state, checksum = np.empty(spill.size, np.uint8).data, 0  # a bytearray would be filled first
        for begin, end, offset in spill.pieces():
            if spill.cancelled or self._stopping:
                return
            piece = state[begin:end]
            _read_all(self._open(), piece, offset)
            checksum = zlib.crc32(piece, checksum)
        if checksum == spill.checksum:
            spill.state = state
        else:
            spill.failed = True
            _log.warning("a parked KV state came back damaged from the disk; it is computed again")

    def _truncate(self, spill: Spill) -> None:
        self._open().truncate(0)

    def _open(self) -> FileIO:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115 - lives longer
        return self._file

    def _give_up(self, error: Exception) -> None:
        if not self.broken:
            _log.warning("idle sessions are no longer parked on disk in %s: %s", self._folder, error)
        self.broken = True

    def _tell(self) -> None:
        try:
            self._wake()
        except Exception:  # the engine may be closing; the next piece of work must be done all the same
            _log.exception("could not wake the engine")


def _write_all(descriptor: int, piece: memoryview, offset: int) -> None:
    while piece:
        written = os.pwrite(descriptor, piece, offset)
        piece, offset = piece[written:], offset + written


def _read_all(file: FileIO, piece: memoryview, offset: int) -> None:
    file.seek(offset)
    while piece:
        count = file.readinto(piece)  # unlike os.pread without a copy, during which the GIL would be held
        if not count:
            raise OSError("the file is shorter than what was written to it")
        piece = piece[count:]


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
