"""KV states in a temporary file: which blocks hold which state (`SpillFile`), and the thread that writes
and reads them (`FileThread`)."""

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

from engine.step import State

__all__ = ["BLOCK_BYTES", "FileThread", "Spill", "SpillFile"]

BLOCK_BYTES = 1 << 20
_LARGE = 64  # blocks; a file that had more is truncated when it is empty

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Spill:
    """A state in the file, or on its way there or back.

    While a job on it is under way it belongs to the thread; the owner may only set `cancelled`.

    Args:
        key: the owner's name for it.
        size: bytes of the state.
        blocks: its blocks in the file.
        state: the bytes to write, or those read.
        checksum: CRC-32 of the bytes written.
        busy: a job is under way; set by the owner.
        cancelled: the job is no longer needed.
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
        """Start and end in the state, and offset in the file, of each block."""
        starts = range(0, self.size, BLOCK_BYTES)
        return [
            (start, min(start + BLOCK_BYTES, self.size), block * BLOCK_BYTES)
            for start, block in zip(starts, self.blocks, strict=True)
        ]


class FileThread:
    """Runs jobs one at a time, in the order they were submitted.

    The file is anonymous: it has no name, so it vanishes however the process ends. The first job opens it.
    After an error nothing more is written: there is one warning, and what is in the file can still be read.

    Args:
        folder: where to create the file; created if it is missing.
        wake: called after each job.
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
        """Write a state, which must not change until its job ends."""
        self._work.put((self._write, spill))

    def read(self, spill: Spill) -> None:
        """Read a state back."""
        self._work.put((self._read, spill))

    def truncate(self) -> None:
        """Empty the file, after the jobs already submitted."""
        self._work.put((self._truncate, Spill("", 0, [], None)))

    def next_done(self) -> Spill | None:
        """The next state whose job ended: done, failed or cancelled."""
        try:
            return self._done.get_nowait()
        except Empty:
            return None

    def close(self) -> None:
        """Stop after the current block and close the file."""
        self._stopping = True
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, spill = item
            try:
                work(spill)
            except (
                Exception
            ) as error:  # of any kind: if this thread died, the engine would wait for the state for ever
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
        import numpy as np  # not before it is needed: importing the engine must stay cheap

        state, checksum = np.empty(spill.size, np.uint8).data, 0  # a bytearray would be zeroed first
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
            _log.warning("a parked KV state was damaged on disk; it is computed again")

    def _truncate(self, spill: Spill) -> None:
        self._open().truncate(0)

    def _open(self) -> FileIO:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115 - lives longer
        return self._file

    def _give_up(self, error: Exception) -> None:
        if not self.broken:
            _log.warning("idle chats are no longer parked on disk in %s: %s", self._folder, error)
        self.broken = True

    def _tell(self) -> None:
        try:
            self._wake()
        except Exception:  # the engine may be closing; the next job must run all the same
            _log.exception("could not wake the engine")


def _write_all(descriptor: int, piece: memoryview, offset: int) -> None:
    while piece:
        written = os.pwrite(descriptor, piece, offset)
        piece, offset = piece[written:], offset + written


def _read_all(file: FileIO, piece: memoryview, offset: int) -> None:
    file.seek(offset)
    while piece:
        count = file.readinto(piece)  # without the copy that os.pread makes under the GIL
        if not count:
            raise OSError("the file is shorter than the data written to it")
        piece = piece[count:]


class SpillFile:
    """A temporary file of blocks, written and read by its own thread.

    All methods belong to one thread, and only `close` waits for the disk. File and thread are created by the
    first write.

    Args:
        folder: where to create the file; None: nothing is written.
        capacity: largest size of the file in bytes, rounded down to whole blocks.
        wake: called by the other thread when a write or read has ended, successfully or not.
    """

    def __init__(self, folder: Path | None, capacity: int, wake: Callable[[], None]) -> None:
        self._folder = folder
        self._wake = wake
        self._blocks = 0 if folder is None else capacity // BLOCK_BYTES
        self._free: list[int] = []
        self._end = 0  # number of blocks in the file
        self._busy = 0
        self._thread: FileThread | None = None

    @property
    def used(self) -> int:
        """Bytes of the blocks in use."""
        return (self._end - len(self._free)) * BLOCK_BYTES

    @property
    def busy(self) -> bool:
        """Whether a job is under way, even on a state that was freed."""
        return self._busy > 0

    def takes(self, size: int) -> bool:
        """Whether a state of `size` bytes can be written, given enough free blocks."""
        return 0 < -(-size // BLOCK_BYTES) <= self._blocks and not (self._thread and self._thread.broken)

    def write(self, key: str, state: State, size: int) -> Spill | None:
        """Start writing a state, which must not change until then; None when too few blocks are free."""
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
        """Start reading back a written state."""
        assert self._thread is not None
        spill.busy = True
        self._busy += 1
        self._thread.read(spill)

    def free(self, spill: Spill) -> None:
        """Free a state; its blocks become free when the thread, too, is done with it."""
        if spill.busy:
            spill.cancelled = True
        else:
            self._release(spill)

    def finished(self) -> list[Spill]:
        """The states whose write or read ended since the last call, successfully or not."""
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
        """Stop the thread and close the file with everything in it."""
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
