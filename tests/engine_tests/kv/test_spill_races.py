"""Parked states while the disk is at work, and any order of calls against a model of what must be there."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_tests.kv.parking_kit import BLOCK, DISK, RAM, Lot, SlowDisk, content, threads
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

pytestmark = pytest.mark.usefixtures("small_blocks")


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


class AnyOrder(RuleBasedStateMachine):
    """What is kept is what was put last; what must not be lost is kept; the limits hold."""

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


@pytest.mark.parametrize("examples", [40, pytest.param(4000, marks=pytest.mark.campaign)])
def test_any_order_of_calls(tmp_path: Path, examples: int) -> None:
    class InFolder(AnyOrder):
        folder = tmp_path

    run_state_machine_as_test(InFolder, settings=settings(max_examples=examples, stateful_step_count=40))
