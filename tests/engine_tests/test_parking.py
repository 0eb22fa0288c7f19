"""Parked states: real bytes in a real file, a model of what must be there, and disks that fail."""

from __future__ import annotations

import errno
import gc
import logging
import os
import random
import resource
import threading
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from engine import parked_disk, parked_io
from engine.parking import Parking

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK = 1024
RAM = 40 * BLOCK
DISK = 64 * BLOCK


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (parked_io, parked_disk):
        monkeypatch.setattr(module, "BLOCK_BYTES", BLOCK)


@pytest.fixture
def lot(tmp_path: Path) -> Iterator[Lot]:
    lot = Lot(tmp_path / "parked")
    yield lot
    lot.parking.close()


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


# --- in RAM ---


def test_what_is_put_is_found_and_fetched_without_a_copy(lot: Lot) -> None:
    state = bytearray(b"abc")
    lot.parking.put("a", [7, 8], state)
    found = lot.parking.find("a")
    assert found is not None
    assert (found.key, found.tokens, found.size) == ("a", (7, 8), 3)
    assert lot.parking.fetch("a") is state
    assert lot.parking.find("b") is None
    assert lot.parking.fetch("b") is None


def test_a_second_put_replaces_the_first(lot: Lot) -> None:
    lot.put("a", 20)
    lot.parking.put("a", [9], b"new")
    assert lot.load("a") == b"new"
    assert lot.parking.count == 1
    assert lot.parking.ram_bytes_used == 3


def test_drop_frees_and_ignores_what_is_not_there(lot: Lot) -> None:
    lot.put("a")
    lot.parking.drop("a")
    lot.parking.drop("a")
    assert lot.keys("a") == []
    assert (lot.parking.count, lot.parking.ram_bytes_used) == (0, 0)


def test_without_a_disk_the_longest_unused_goes_at_the_limit_and_not_before() -> None:
    lot = Lot(None)
    for key in "abcd":
        lot.put(key)
    assert lot.keys(*"abcd") == list("abcd")
    assert lot.parking.ram_bytes_used == RAM
    lot.put("e", 1 / BLOCK)
    assert lot.keys(*"abcde") == list("bcde")
    assert lot.parking.disk_bytes_used == 0
    assert threads() == []


def test_what_was_fetched_is_not_dropped_for_others() -> None:
    lot = Lot(None)
    for key in "abcd":
        lot.put(key)
    for key in "ab":
        lot.parking.fetch(key)
    lot.put("e", 20)
    assert lot.keys(*"abcde") == list("abe")
    lot.parking.fetch("e")
    lot.put("f")
    assert lot.keys(*"abef") == list("abe")


def test_a_state_larger_than_the_limit_is_not_kept_and_costs_nobody_his_place() -> None:
    lot = Lot(None)
    lot.put("a")
    lot.put("huge", 41)
    assert lot.keys("a", "huge") == ["a"]
    lot.put("a", 41)
    assert lot.keys("a") == []  # the old one is out of date


def test_a_limit_of_nothing_keeps_nothing() -> None:
    lot = Lot(None, ram=0)
    lot.put("a", 1)
    assert lot.parking.count == 0


# --- on disk ---


def test_neither_file_nor_thread_before_the_first_spill(lot: Lot) -> None:
    before = descriptors()
    lot.put("a", 30)
    assert threads() == []
    assert lot.folder is not None
    assert not lot.folder.exists()
    lot.put("b", 1)
    lot.settle()
    assert threads() == ["parking"]
    assert descriptors() == before + 1
    assert list(lot.folder.iterdir()) == []  # it has no name


def test_the_longest_unused_is_written_and_comes_back_the_same(lot: Lot) -> None:
    states = {key: lot.put(key, 9.5) for key in "abcd"}
    lot.settle()
    assert lot.parking.on_disk == 1
    assert lot.parking.ram_bytes_used == 3 * 9.5 * BLOCK
    assert lot.parking.disk_bytes_used == 10 * BLOCK
    assert lot.parking.fetch("a") is None
    assert lot.load("a") == states["a"]
    assert lot.parking.disk_bytes_used == 10 * BLOCK  # now of "b": "a" took its place in RAM
    assert {key: lot.load(key) for key in "bcd"} == {key: states[key] for key in "bcd"}


def test_wake_is_called_when_a_read_is_done_and_not_from_the_callers_thread(tmp_path: Path) -> None:
    callers: list[str] = []
    done = threading.Event()

    def wake() -> None:
        callers.append(threading.current_thread().name)
        done.set()

    parking = Parking(ram_bytes=RAM, disk_bytes=DISK, folder=tmp_path, wake=wake)
    parking.put("a", [1], content("a", 20 * BLOCK))
    parking.put("b", [1], content("b", 15 * BLOCK))
    assert done.wait(30)
    parking.find("a")
    done.clear()
    assert parking.fetch("a") is None
    assert done.wait(30)
    assert parking.fetch("a") == content("a", 20 * BLOCK)
    assert set(callers) == {"parking"}
    parking.close()


def test_a_wake_that_fails_does_not_end_the_thread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Semaphore(0)

    def wake() -> None:
        done.release()
        raise RuntimeError("the loop is closed")

    parking = Parking(ram_bytes=RAM, disk_bytes=DISK, folder=tmp_path, wake=wake)
    for key in "abcd":
        parking.put(key, [1], content(key, 20 * BLOCK))
        if parking._disk.busy:
            assert done.acquire(timeout=30)
    assert "could not wake the engine" in caplog.text
    assert threads() == ["parking"]
    parking.close()


def test_past_the_disk_limit_the_longest_unused_is_dropped(lot: Lot) -> None:
    for number in range(12):
        lot.put(f"s{number}", 10)
        lot.settle()
        assert lot.parking.disk_bytes_used <= DISK
        assert lot.parking.ram_bytes_used <= RAM
    assert lot.parking.count == 3 + 6
    assert lot.keys(*(f"s{number}" for number in range(12))) == [f"s{number}" for number in range(3, 12)]


def test_what_is_too_large_for_the_disk_displaces_nothing_there(tmp_path: Path) -> None:
    lot = Lot(tmp_path, disk=12 * BLOCK)
    for key in "abcd":
        lot.put(key)
        lot.settle()
    assert lot.parking.on_disk == 1
    lot.put("big", 20)  # drops from RAM what it needs; may not go to disk itself
    lot.settle()
    lot.put("e")
    lot.settle()
    assert lot.parking.ram_bytes_used <= RAM
    assert lot.parking.disk_bytes_used <= 12 * BLOCK
    assert lot.load("big") == content("big", 20 * BLOCK)
    lot.parking.close()


def test_what_was_fetched_from_disk_stays_until_it_is_dropped(lot: Lot) -> None:
    for key in "abcd":
        lot.put(key)
    assert lot.load("a") == content("a", 10 * BLOCK)
    for number in range(20):
        lot.put(f"s{number}")
        lot.settle()
    assert lot.parking.fetch("a") == content("a", 10 * BLOCK)
    lot.parking.drop("a")
    assert lot.keys("a") == []


def test_a_fetch_during_the_write_keeps_the_state_in_ram(lot: Lot, slow_disk: SlowDisk) -> None:
    state = lot.put("a", 31)
    slow_disk.wait()
    assert lot.parking.fetch("a") == state
    slow_disk.go_on()
    lot.settle()
    assert lot.parking.fetch("a") == state
    assert lot.parking.disk_bytes_used == 0


def test_a_read_waits_for_the_room_that_a_write_is_about_to_make(lot: Lot, slow_disk: SlowDisk) -> None:
    slow_disk.go_on()
    states = {key: lot.put(key) for key in "abcd"}
    lot.settle()
    slow_disk.stop()
    states["e"] = lot.put("e")
    slow_disk.wait()
    assert lot.parking.fetch("a") is None
    assert lot.parking.ram_bytes_used == RAM  # "b" is still there, being written
    slow_disk.go_on()
    assert {key: lot.load(key) for key in "abcde"} == states  # nobody was dropped for "a"


def test_a_state_that_waits_to_be_read_is_not_dropped_from_a_full_disk(
    tmp_path: Path, slow_disk: SlowDisk
) -> None:
    slow_disk.go_on()
    lot = Lot(tmp_path, disk=40 * BLOCK)
    lot.spill("first", 10)
    state = lot.spill("second", 30)
    lot.put("pinned", 20)
    lot.parking.fetch("pinned")
    slow_disk.stop()
    assert lot.parking.fetch("first") is None
    assert lot.parking.fetch("second") is None  # no room while "first" comes
    lot.put("new", 10)  # more than may rest in RAM
    slow_disk.go_on()
    assert lot.load("first") is not None
    lot.parking.drop("pinned")
    assert lot.load("second") == state
    lot.parking.close()


def test_what_was_wanted_but_never_taken_does_not_block_a_read_for_ever(
    lot: Lot, slow_disk: SlowDisk
) -> None:
    slow_disk.go_on()
    lot.spill("first", 10)
    lot.spill("large", 30)
    state = lot.spill("small", 10)
    for key in "abc":
        lot.put(key)
        lot.parking.fetch(key)
    slow_disk.stop()
    assert lot.parking.fetch("first") is None
    assert lot.parking.fetch("large") is None  # nobody asks for it again
    slow_disk.go_on()
    assert lot.load("first") is not None
    lot.parking.fetch("a")
    assert lot.load("small") == state
    assert lot.keys("a", "b", "c", "first", "large") == ["a", "c", "first", "large"]


def test_a_read_that_waits_starts_when_the_room_is_there_and_not_if_it_was_dropped(
    tmp_path: Path, slow_disk: SlowDisk
) -> None:
    slow_disk.go_on()
    lot = Lot(tmp_path, disk=80 * BLOCK)
    state, _ = lot.spill("a", 30), lot.spill("b", 10)
    lot.put("pinned", 10)
    lot.parking.fetch("pinned")
    slow_disk.stop()
    lot.put("c", 30)  # begins to be written
    assert lot.parking.fetch("b") is None
    assert lot.parking.fetch("a") is None
    lot.parking.drop("b")
    slow_disk.go_on()
    lot.settle()  # asks for nothing
    assert lot.parking.fetch("a") == state
    assert lot.parking.ram_bytes_used == 40 * BLOCK
    assert lot.parking.disk_bytes_used == 30 * BLOCK
    lot.parking.close()


def test_dropping_in_the_middle_of_a_write_frees_the_blocks(lot: Lot, slow_disk: SlowDisk) -> None:
    lot.put("a", 31)
    slow_disk.wait()
    lot.parking.drop("a")
    assert lot.parking.ram_bytes_used == 0
    assert lot.parking.disk_bytes_used == 31 * BLOCK  # the thread still writes to them
    slow_disk.go_on()
    lot.settle()
    assert lot.parking.disk_bytes_used == 0


def test_replacing_in_the_middle_of_a_write_keeps_the_new_one(lot: Lot, slow_disk: SlowDisk) -> None:
    lot.put("a", 31)
    slow_disk.wait()
    lot.parking.put("a", [5], content("other", 32 * BLOCK))
    slow_disk.go_on()
    lot.settle()
    assert lot.parking.on_disk == 1
    assert lot.load("a") == content("other", 32 * BLOCK)


def test_a_lagging_disk_never_takes_the_ram_past_its_limit(lot: Lot, slow_disk: SlowDisk) -> None:
    lot.put("a", 31)
    slow_disk.wait()
    for number in range(20):
        lot.put(f"s{number}", 6)
        assert lot.parking.ram_bytes_used <= RAM
    slow_disk.go_on()
    lot.settle()
    assert lot.keys("a", "s19", "s0") == ["a", "s19"]


def test_an_empty_file_that_was_large_is_truncated(tmp_path: Path) -> None:
    lot = Lot(tmp_path, ram=200 * BLOCK, disk=200 * BLOCK)
    lot.put("a", 160)
    lot.settle()
    file = lot.parking._disk._thread._file  # type: ignore[union-attr]
    assert file is not None
    assert os.fstat(file.fileno()).st_size == 160 * BLOCK
    lot.parking.drop("a")
    state = lot.put("b", 155.5)
    lot.settle()
    assert os.fstat(file.fileno()).st_size == 155.5 * BLOCK  # truncated before "b" was written
    assert lot.load("b") == state
    lot.parking.close()


def test_close_leaves_neither_thread_nor_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    lot = Lot(tmp_path)
    for number in range(10):
        lot.put(f"s{number}")
    lot.parking.fetch("s0")
    lot.parking.close()
    assert threads() == []
    assert descriptors() == before
    assert (lot.parking.count, lot.parking.ram_bytes_used) == (0, 0)
    lot.put("late")
    assert lot.parking.find("late") is None
    assert lot.parking.fetch("s0") is None
    lot.parking.drop("s0")
    lot.parking.close()


# --- disks that fail ---


class SlowDisk:
    """Writes and reads stand still until they may go on."""

    def __init__(self) -> None:
        self._free, self._reached = threading.Event(), threading.Event()
        self._pwrite, self._read_all = os.pwrite, parked_io._read_all

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


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch, lot: Lot) -> Iterator[SlowDisk]:
    disk = SlowDisk()
    monkeypatch.setattr(os, "pwrite", disk.pwrite)
    monkeypatch.setattr(parked_io, "_read_all", disk.read_all)
    yield disk
    disk.go_on()


def full_disk(_descriptor: int, _data: memoryview, _offset: int) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


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
        parked_io._read_all(file, piece, 50)
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


def test_a_disk_that_fails_often_is_complained_about_once(
    lot: Lot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for key in "ab":
        lot.spill(key, 30)

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(parked_io, "_read_all", broken)
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

    monkeypatch.setattr(parked_io, "_read_all", no_memory)
    assert lot.load("a") is None
    assert threads() == ["parking"]


# --- against a model ---


class AnyOrder(RuleBasedStateMachine):
    """Whatever is there is what was put last; what may not be lost is there; the limits hold."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.lot = Lot(self.folder)
        self.model: dict[str, bytes] = {}
        self.fetched: set[str] = set()
        self.version = 0

    keys = st.sampled_from("abcdefgh")

    @rule(key=keys, size=st.integers(1, 30 * BLOCK))
    def put(self, key: str, size: int) -> None:
        self.version += 1
        state = content(f"{key}{self.version}", size)
        self.lot.parking.put(key, [self.version], memoryview(state))
        self.model[key] = state
        self.fetched.discard(key)

    @rule(key=keys)
    def drop(self, key: str) -> None:
        self.lot.parking.drop(key)
        self.model.pop(key, None)
        self.fetched.discard(key)

    @rule(key=keys)
    def fetch(self, key: str) -> None:
        if (state := self.lot.parking.fetch(key)) is not None:
            assert bytes(state) == self.model[key]
            self.fetched.add(key)

    @rule(key=keys)
    def load(self, key: str) -> None:
        known = self.lot.parking.find(key)
        state = self.lot.load(key)
        assert (state is None) == (known is None)
        assert state is None or state == self.model[key]

    @rule()
    def settle(self) -> None:
        self.lot.settle()
        assert self.lot.parking._writing == 0

    @invariant()
    def limits_hold(self) -> None:
        assert 0 <= self.lot.parking.ram_bytes_used <= RAM
        assert 0 <= self.lot.parking.disk_bytes_used <= DISK
        assert self.lot.parking.count <= len(self.model)

    def teardown(self) -> None:
        for key in list(self.model):
            self.lot.parking.drop(key)
        self.lot.settle()
        assert self.lot.parking.ram_bytes_used == 0
        assert self.lot.parking.disk_bytes_used == 0
        self.lot.parking.close()
        assert threads() == []


def test_any_order_of_calls(tmp_path: Path) -> None:
    class InFolder(AnyOrder):
        folder = tmp_path

    run_state_machine_as_test(InFolder, settings=settings(max_examples=60, stateful_step_count=40))
