"""Compares the engine's books with what the fake backend holds."""

from __future__ import annotations

from engine_tests.fuzz.model import FuzzBackend

from engine.core import EngineCore
from engine.kv import Parking

__all__ = ["check_books", "check_empty", "holds"]


def check_books(core: EngineCore, backend: FuzzBackend) -> None:
    """Between two steps: slots, cells, samplers and parked states are those of the requests."""
    scheduler, cache = core.scheduler, core.scheduler.cache
    live = [*scheduler.running, *scheduler.waiting]
    assert {s.request_id for s in live} == {*core._outputs} == {*backend.samplers}
    assert {*scheduler.speculator._requests} <= {*core._outputs}
    assert backend.used == cache.used <= cache.cells
    assert sorted([*cache._leased, *cache._idle, *cache._free]) == [*range(backend.config.sequences)]
    assert {s.slot for s in scheduler.running} == {*cache._leased}
    for sequence in scheduler.running:
        assert sequence.slot is not None
        assert backend.tokens(sequence.slot) == sequence.tokens[: sequence.computed]
        assert cache._leased[sequence.slot] == sequence.computed < len(sequence.tokens)
        assert sequence.leader is None or sequence.leader in scheduler.running
    for slot, session in cache._idle.items():
        assert (*backend.tokens(slot),) == cache._tree.path(slot) != ()
        assert session is None or cache._of_session[session] == slot
    assert {*cache._of_session.values()} <= {*cache._idle}
    assert not any(backend.tokens(slot) for slot in cache._free)
    check_parking(core.parking)
    waiting = {f"request {s.request_id}" for s in scheduler.waiting}
    assert {key for key in core.parking._entries if key.startswith("request ")} <= waiting


def check_parking(parking: Parking) -> None:
    """Bytes and blocks add up."""
    entries = parking._entries.values()
    assert parking._ram == sum(entry.parked.size for entry in entries if entry.in_ram)
    # A lower limit leaves what somebody waits for, and what is being written.
    assert parking._ram <= parking._ram_bytes or not list(parking._resting())
    writing = [entry for entry in entries if entry.spill is not None and entry.state is not None]
    assert parking._writing == sum(entry.parked.size for entry in writing)
    assert all(entry.in_ram or entry.spill is not None for entry in entries)
    assert {*parking._reads} <= {*parking._entries}


def check_empty(core: EngineCore, backend: FuzzBackend) -> None:
    """After everything has ended and all sessions are forgotten, nothing is left."""
    cache, parking = core.scheduler.cache, core.parking
    check_books(core, backend)
    assert not core._outputs
    assert backend.used == 0
    assert not cache._leased
    assert not cache._idle
    assert not cache._pins
    assert not cache._of_session
    assert cache._tree.size == 0
    assert not cache._tree._root.children
    assert not parking._entries
    assert parking.disk_bytes_used == 0
    assert not core.encoder._known
    assert core.encoder._remembered == 0


def holds(core: EngineCore, backend: FuzzBackend, letter: str) -> str | None:
    """Where the engine still has a letter; None: nowhere."""
    token, cache = ord(letter), core.scheduler.cache
    if any(token in backend.tokens(slot) for slot in backend.kv):
        return "a slot"
    if any(token in pin for pin in cache._pins):
        return "a pin"
    if any(token in entry.parked.tokens for entry in core.parking._entries.values()):
        return "a parked state"
    if any(token in known for known in core.encoder._known.values()):
        return "the encoder"
    return None
