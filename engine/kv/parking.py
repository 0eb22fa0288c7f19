"""KV states of sequences that had to leave the KV cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from pathlib import Path

from engine.kv.spill import Spill, SpillFile
from engine.step import State

__all__ = ["Parked", "Parking"]

_RESTING = 0.75  # of the RAM, where there is a disk; the rest is for what is being written or read


@dataclass(frozen=True, slots=True)
class Parked:
    """A state: its tokens, and its size in bytes."""

    key: str
    tokens: tuple[int, ...] = field(repr=False)
    size: int


@dataclass(eq=False, slots=True)
class _Entry:
    parked: Parked
    state: State | None = field(repr=False)  # None: on disk
    spill: Spill | None = None
    in_ram: bool = True  # or being read, with its room taken
    wanted: bool = False  # fetched: it stays until it is dropped


class Parking:
    """Keeps states in RAM, writes those not used for longest to disk, and drops them past that limit: they
    have to be computed again, nothing else happens. So too when the disk is full, slow or broken.

    All methods are for the engine thread and none but `close` waits for the disk; the properties may be read
    by any thread.

    Args:
        ram_bytes: the most bytes of states in RAM, those on their way to and from the disk included; a larger
            state is not kept.
        disk_bytes: the most bytes on disk, in blocks of 1 MiB.
        folder: where the file is made, which has no name; None: nothing goes to disk.
        wake: called by another thread whenever a state has arrived from the disk, or was lost there; it may
            be called for no reason.
    """

    def __init__(
        self,
        *,
        ram_bytes: int,
        disk_bytes: int = 0,
        folder: Path | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._ram_bytes = ram_bytes
        self._disk = SpillFile(folder, disk_bytes, wake)
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # the longest not used first
        self._reads: OrderedDict[str, _Entry] = OrderedDict()  # fetched, but the RAM has no room yet
        self._ram = 0
        self._writing = 0  # bytes of the RAM that will be free when they are written

    @property
    def count(self) -> int:
        """States there are."""
        return len(self._entries)

    @property
    def on_disk(self) -> int:
        """States that are on disk only."""
        return sum(not entry.in_ram for entry in list(self._entries.values()))

    @property
    def ram_bytes_used(self) -> int:
        """Bytes of the states in RAM."""
        return self._ram

    @property
    def disk_bytes_used(self) -> int:
        """Bytes of the blocks in use on disk."""
        return self._disk.used

    def put(self, key: str, tokens: SequenceOf[int], state: State) -> None:
        """Keep a state, in place of an older one under the same key.

        It is not copied: it must not change any more. It is dropped when there is no room for it.
        """
        self.drop(key)
        size = memoryview(state).nbytes
        if self._make_room(size):
            self._entries[key] = _Entry(Parked(key, tuple(tokens), size), state)
            self._ram += size
            self._balance()

    def find(self, key: str) -> Parked | None:
        """What is kept under a key, in RAM or on disk."""
        self._settle()
        entry = self._entries.get(key)
        return None if entry is None else entry.parked

    def fetch(self, key: str) -> State | None:
        """A state, if it is in RAM. If it is on disk, start reading it; `wake` is called when it has arrived
        or was lost, and then this or `find` tells which. It stays in RAM until it is dropped."""
        self._settle()
        if (entry := self._entries.get(key)) is None:
            return None
        self._entries.move_to_end(key)
        entry.wanted = True
        if not entry.in_ram:
            self._reads[key] = entry
            self._balance()
            # Nothing is on its way that could make room: what others wanted and did not take must go.
            if key in self._reads and not self._disk.busy and self._make_room(entry.parked.size, wanted=True):
                self._reads.move_to_end(key, last=False)
                self._balance()
        return entry.state

    def drop(self, key: str) -> None:
        """Free a state: it was restored, or nobody will ask for it. Unknown keys are ignored."""
        self._settle()
        if key in self._entries:
            self._remove(self._entries[key])
            self._balance()

    def close(self) -> None:
        """Drop everything, stop the thread and close the file."""
        for entry in list(self._entries.values()):
            self._remove(entry)
        self._disk.close()
        self._ram_bytes = -1

    def _settle(self) -> None:
        """Enter what the disk has done."""
        done = self._disk.finished()
        for spill in done:
            entry = self._entries[spill.key]
            if entry.state is None:
                self._enter_read(entry, spill)
            else:
                self._enter_write(entry, spill)
        if done:
            self._balance()

    def _enter_write(self, entry: _Entry, spill: Spill) -> None:
        self._writing -= spill.size
        if spill.failed or entry.wanted:
            entry.spill = None
            self._disk.free(spill)
        else:
            entry.state = spill.state = None
            entry.in_ram = False
            self._ram -= spill.size

    def _enter_read(self, entry: _Entry, spill: Spill) -> None:
        if spill.failed:
            self._remove(entry)
        else:
            entry.state, entry.spill = spill.state, None
            self._disk.free(spill)

    def _balance(self) -> None:
        """Start the reads there is room for, then write what is too much."""
        for key, entry in list(self._reads.items()):
            size, spill = entry.parked.size, entry.spill
            coming = self._ram + size - self._writing <= self._ram_bytes < self._ram + size
            if coming or not self._make_room(size):
                break
            assert spill is not None
            del self._reads[key]
            entry.in_ram = True
            self._ram += size
            self._disk.read(spill)
        for entry in self._resting():
            if self._ram - self._writing <= _RESTING * self._ram_bytes or not self._write(entry):
                break

    def _resting(self) -> Iterator[_Entry]:
        """States in RAM that may leave it, the longest not used first."""
        for entry in list(self._entries.values()):
            if entry.state is not None and entry.spill is None and not entry.wanted:
                yield entry

    def _write(self, entry: _Entry) -> bool:
        """Begin to write a state, in place of older ones if need be."""
        key, size, state = entry.parked.key, entry.parked.size, entry.state
        if state is None or not self._disk.takes(size):
            return False
        while (spill := self._disk.write(key, state, size)) is None:
            older = (other for other in self._entries.values() if not other.in_ram and not other.wanted)
            if (victim := next(older, None)) is None:
                return False
            self._remove(victim)
        entry.spill = spill
        self._writing += size
        return True

    def _make_room(self, size: int, *, wanted: bool = False) -> bool:
        """Drop the longest unused states until so many bytes of RAM are free; nothing if that cannot be."""
        victims: list[_Entry] = []
        free = self._ram_bytes - self._ram
        for entry in self._entries.values():
            if free >= size:
                break
            if entry.state is not None and entry.spill is None and (wanted or not entry.wanted):
                victims.append(entry)
                free += entry.parked.size
        if free < size:
            return False
        for entry in victims:
            self._remove(entry)
        return True

    def _remove(self, entry: _Entry) -> None:
        key, size = entry.parked.key, entry.parked.size
        del self._entries[key]
        self._reads.pop(key, None)
        if entry.in_ram:
            self._ram -= size
        if entry.spill is not None:
            if entry.state is not None:
                self._writing -= size
            self._disk.free(entry.spill)
