"""For tests of parked states: a parking with a folder, and a disk that stands still when told to."""

from __future__ import annotations

import gc
import logging
import os
import random
import threading
from io import FileIO
from pathlib import Path

import pytest

from engine.kv import spill
from engine.kv.parking import Parking

BLOCK = 1024
RAM = 40 * BLOCK
DISK = 64 * BLOCK


class Lot:
    """A parking with a folder, and a wait for its thread."""

    def __init__(self, folder: Path | None, *, ram: int = RAM, disk: int = DISK) -> None:
        self.folder = folder
        self.woken = threading.Semaphore(0)
        self.parking = Parking(ram_bytes=ram, disk_bytes=disk, folder=folder, wake=self.woken.release)

    def put(self, key: str, blocks: float = 10) -> bytes:
        state = content(key, int(blocks * BLOCK))
        self.parking.put(key, [1, 2, 3], state)
        return state

    def spill(self, key: str, blocks: int) -> bytes:
        """Put a state on disk; needs a RAM of 40 blocks with nothing in it, and at least 10 blocks."""
        state = self.put(key, blocks)
        self.put("filler", 40 - blocks)
        self.settle()
        self.parking.drop("filler")
        return state

    def settle(self, key: str = "") -> None:
        """Wait until the thread has nothing to do."""
        while self.parking._disk.busy:
            assert self.woken.acquire(timeout=30)
            self.parking.find(key)

    def load(self, key: str) -> bytes | None:
        """Fetch as the engine does: again after each wake-up."""
        while (state := self.parking.fetch(key)) is None and self.parking.find(key) is not None:
            assert self.woken.acquire(timeout=30)
        return None if state is None else bytes(state)

    def keys(self, *names: str) -> list[str]:
        return [name for name in names if self.parking.find(name) is not None]


def content(key: str, size: int) -> bytes:
    return random.Random(key).randbytes(size)


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "parking"]


class SlowDisk:
    """Writes and reads block until the test releases them."""

    def __init__(self) -> None:
        self._free, self._reached = threading.Event(), threading.Event()
        self._pwrite, self._read_all = os.pwrite, spill._read_all

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        self._reached.set()
        assert self._free.wait(30)
        return self._pwrite(descriptor, data, offset)

    def read_all(self, file: FileIO, piece: memoryview, offset: int) -> None:
        assert self._free.wait(30)
        self._read_all(file, piece, offset)

    def wait(self) -> None:
        assert self._reached.wait(30)

    def go_on(self) -> None:
        self._free.set()

    def stop(self) -> None:
        self._free.clear()
        self._reached.clear()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
