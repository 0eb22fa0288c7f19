"""Disks for parked states that fail when they are told to, and one that works only when it is told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import ClassVar

from engine.kv.spill import FileThread, Spill

__all__ = ["FaultyDisk", "HandDisk"]


class FaultyDisk(FileThread):
    """A `FileThread` whose jobs fail when they are told to."""

    faults: ClassVar[deque[str]] = deque()  # of all disks: each engine makes its own

    def _write(self, spill: Spill) -> None:
        self._fault("write")
        super()._write(spill)

    def _read(self, spill: Spill) -> None:
        self._fault("read")
        if self.faults and self.faults[0] == "damage":
            self.faults.popleft()
            spill.checksum ^= 1
        super()._read(spill)

    def _fault(self, kind: str) -> None:
        if self.faults and self.faults[0] == kind:
            self.faults.popleft()
            raise OSError(f"no {kind}")


class HandDisk(FaultyDisk):
    """A `FileThread` without the thread: `work` does the next job."""

    disks: ClassVar[list[HandDisk]] = []

    def __init__(self, folder: Path, wake: Callable[[], None]) -> None:
        self.broken = False
        self._folder = folder
        self._wake = wake
        self._file = None
        self._stopping = False
        self._work = SimpleQueue()
        self._done = SimpleQueue()
        self.disks.append(self)

    def work(self) -> bool:
        """Do one job; False when there is none."""
        if self._work.empty() or (item := self._work.get()) is None:
            return False
        job, spill = item
        try:
            job(spill)
        except OSError as error:
            spill.failed = True
            self._give_up(error)
        if spill.blocks:
            self._done.put(spill)
            self._tell()
        return True

    def close(self) -> None:
        self._stopping = True
        while self.work():
            pass
        if self._file is not None:
            self._file.close()
