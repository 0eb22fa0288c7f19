"""Parked states: real bytes in RAM and in a real file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from engine_tests.kv.parking_kit import BLOCK, DISK, RAM, Lot, content, descriptors, threads

from engine.kv.parking import Parking

pytestmark = pytest.mark.usefixtures("small_blocks")


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


def test_what_nobody_waits_for_any_more_can_be_dropped_again() -> None:
    lot = Lot(None)
    for key in "abcd":
        lot.put(key)
        lot.parking.fetch(key)
    for key in "ab":
        lot.parking.leave(key)
    lot.parking.leave("unknown")
    lot.put("e", 20)
    assert lot.keys(*"abcde") == list("cde")


def test_a_read_that_nobody_waits_for_any_more_takes_no_room(lot: Lot) -> None:
    lot.spill("a", 20)
    lot.put("b", 10)
    lot.put("c", 10)
    for key in "bc":
        lot.parking.fetch(key)
    lot.put("d", 15)
    lot.parking.fetch("d")
    assert lot.parking.fetch("a") is None
    lot.parking.leave("a")
    lot.parking.drop("d")
    assert lot.parking.ram_bytes_used == 20 * BLOCK
    assert lot.parking.find("a"), "it is still on disk"


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
