"""Parked states on disks that fail."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engine_tests.kv.parking_kit import BLOCK, RAM, Lot, SlowDisk, content, threads, warnings

from engine.kv import spill

if TYPE_CHECKING:
    from typing_extensions import Buffer

pytestmark = pytest.mark.usefixtures("small_blocks")


def full_disk(_descriptor: int, _data: memoryview, _offset: int) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_given_up_with_one_warning(
    lot: Lot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = lot.put("early", 31)
    lot.settle()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full_disk)
        for number in range(12):
            lot.put(f"s{number}")
            lot.settle()
    assert lot.parking.on_disk == 1
    assert lot.parking.ram_bytes_used == RAM  # as if there had never been a disk
    assert [message for message in warnings(caplog) if "No space left" in message] == warnings(caplog)
    assert len(warnings(caplog)) == 1
    assert lot.load("s11") == content("s11", 10 * BLOCK)
    assert lot.parking.disk_bytes_used == 31 * BLOCK
    for number in range(12):
        lot.parking.drop(f"s{number}")
    assert lot.load("early") == kept


def test_a_file_size_limit_is_a_full_disk(lot: Lot, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12 * BLOCK, hard))
    try:
        states = {}
        for key in "abcde":
            states[key] = lot.put(key)
            lot.settle()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(warnings(caplog)) == 1
    assert lot.parking.on_disk == 1
    for key in "bcdea":
        assert lot.load(key) == states[key]


def test_a_folder_that_cannot_be_made_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    lot = Lot(tmp_path / "file" / "parked")
    for key in "abcdef":
        lot.put(key)
        lot.settle()
    assert len(warnings(caplog)) == 1
    assert lot.keys(*"abcdef") == list("cdef")
    assert lot.parking.disk_bytes_used == 0
    lot.parking.close()


def test_short_writes_are_continued(lot: Lot, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:100], offset))
    state = lot.put("a", 31)
    lot.settle()
    assert lot.parking.on_disk == 1
    assert lot.load("a") == state


class Stingy(FileIO):
    """Reads a few bytes at a time."""

    def readinto(self, buffer: Buffer, /) -> int:
        return super().readinto(memoryview(buffer)[:100])


def test_short_reads_are_continued(tmp_path: Path) -> None:
    data = content("a", 1000)
    (tmp_path / "file").write_bytes(bytes(50) + data)
    piece = memoryview(bytearray(1000))
    with Stingy(tmp_path / "file") as file:
        spill._read_all(file, piece, 50)
    assert piece == data


def flip_a_bit(descriptor: int) -> None:
    byte = os.pread(descriptor, 1, 12345)
    os.pwrite(descriptor, bytes([byte[0] ^ 1]), 12345)


def cut_the_end(descriptor: int) -> None:
    os.ftruncate(descriptor, 1000)


@pytest.mark.parametrize("damage", [flip_a_bit, cut_the_end])
def test_a_damaged_state_is_dropped_and_never_returned(
    lot: Lot, damage: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    lot.put("a", 31)
    lot.settle()
    file = lot.parking._disk._thread._file  # type: ignore[union-attr]
    assert file is not None
    damage(file.fileno())
    assert lot.load("a") is None
    assert lot.parking.count == 0
    assert (lot.parking.ram_bytes_used, lot.parking.disk_bytes_used) == (0, 0)
    assert len(warnings(caplog)) == 1


def test_a_disk_that_fails_often_gets_one_warning(
    lot: Lot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for key in "ab":
        lot.spill(key, 30)

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(spill, "_read_all", broken)
    assert lot.load("a") is lot.load("b") is None
    assert len(warnings(caplog)) == 1


def test_writes_that_were_asked_for_before_the_error_are_not_tried(
    lot: Lot, slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lot.put("a", 5)
    lot.put("b", 5)
    lot.put("c", 30)  # now "a" and "b" have to go
    slow_disk.wait()
    tried: list[int] = []

    def full(_descriptor: int, _data: memoryview, offset: int) -> int:
        tried.append(offset)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    slow_disk.go_on()
    lot.settle()
    assert len(tried) == 1
    assert lot.keys("a", "b", "c") == ["a", "b", "c"]


def test_no_memory_for_a_read_loses_the_state_only(lot: Lot, monkeypatch: pytest.MonkeyPatch) -> None:
    lot.put("a", 31)
    lot.settle()

    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(spill, "_read_all", no_memory)
    assert lot.load("a") is None
    assert threads() == ["parking"]
