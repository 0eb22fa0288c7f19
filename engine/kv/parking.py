"""Keeps the KV states of sequences that had to leave the cache: in RAM, then on disk, then dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.kv.spill import Spill, SpillFile
from engine.step import State

__all__ = ["Parked", "Parking"]

_RESTING = 0.75  # share of the RAM for states at rest, with a disk; the rest is for states on their way


@dataclass(frozen=True, slots=True)
class Parked:
    """What is known of a parked state: its tokens, and its size in bytes."""

    key: str
    tokens: tuple[int, ...] = field(repr=False)
    size: int


@dataclass(eq=False, slots=True)
class _Entry:
    parked: Parked
    state: State | None = field(repr=False)  # None: on disk
    spill: Spill | None = None
    in_ram: bool = True  # or being read, with its room reserved
    wanted: bool = False  # fetched: it stays in RAM until it is dropped


class Parking:
    """Keeps states in RAM, writes the least recently used to disk, and drops them beyond that limit. A
    dropped state only has to be computed again; the same holds when the disk is full, slow or broken.

    All methods belong to the engine thread; only `close` waits for the disk. The properties are thread-safe.

    Args:
        ram_bytes: limit for states in RAM, including those on their way to and from the disk; a larger
            state is not kept.
        disk_bytes: limit on disk, in blocks of 1 MiB.
        folder: where to create the file, which has no name; None: nothing goes to disk.
        wake: called by another thread when a state has arrived from the disk or was lost there; it may
            also be called without a reason.
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
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._reads: OrderedDict[str, _Entry] = OrderedDict()  # fetched, but not yet room for them in RAM
        self._ram = 0
        self._writing = 0  # bytes of RAM that become free when they are written

    @property
    def count(self) -> int:
        """Number of states."""
        return len(self._entries)

    @property
    def on_disk(self) -> int:
        """Number of states that are only on disk."""
        return sum(not entry.in_ram for entry in list(self._entries.values()))

    @property
    def ram_bytes_used(self) -> int:
        """Bytes of the states in RAM."""
        return self._ram

    @property
    def disk_bytes_used(self) -> int:
        """Bytes of the blocks in use on disk."""
        return self._disk.used

    def limit(self, ram_bytes: int) -> None:
        """Change the limit for states in RAM; those beyond a lower one are dropped, the oldest first."""
        self._settle()
        self._ram_bytes = ram_bytes
        self._shrink()
        self._balance()

    def _shrink(self) -> None:
        """Drop states at rest while there is less room than they take."""
        for entry in list(self._resting()):
            if self._ram <= self._ram_bytes:
                break
            self._remove(entry)

    def takes(self, size: int) -> bool:
        """Whether a state of `size` bytes can be kept at all: every state passes through the RAM."""
        return size <= self._ram_bytes

    def put(self, key: str, tokens: Sequence[int], state: State) -> None:
        """Keep a state, replacing an older one under the same key.

        It is not copied and must not change afterwards. If there is no room, it is dropped.
        """
        self.drop(key)
        size = memoryview(state).nbytes
        if self._make_room(size):
            self._entries[key] = _Entry(Parked(key, tuple(tokens), size), state)
            self._ram += size
            self._balance()

    def find(self, key: str) -> Parked | None:
        """The state kept under a key, in RAM or on disk."""
        self._settle()
        entry = self._entries.get(key)
        return None if entry is None else entry.parked

    def fetch(self, key: str) -> State | None:
        """A state, if it is in RAM. If it is on disk, start reading it: `wake` is called when it has arrived
        or was lost, and then this or `find` tells which. A fetched state stays in RAM until it is dropped."""
        self._settle()
        if (entry := self._entries.get(key)) is None:
            return None
        self._entries.move_to_end(key)
        entry.wanted = True
        if not entry.in_ram:
            self._reads[key] = entry
            self._balance()
            # Nothing under way will make room: drop states that others fetched and did not take.
            if key in self._reads and not self._disk.busy and self._make_room(entry.parked.size, wanted=True):
                self._reads.move_to_end(key, last=False)
                self._balance()
        return entry.state

    def leave(self, key: str) -> None:
        """Undo `fetch`: nobody waits for this state any more. Unknown keys are ignored."""
        self._settle()
        if (entry := self._entries.get(key)) is not None and entry.wanted:
            entry.wanted = False
            self._reads.pop(key, None)
            self._shrink()
            self._balance()

    def drop(self, key: str) -> None:
        """Free a state that was restored or is no longer needed. Unknown keys are ignored."""
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
        """Apply what the disk thread has finished."""
        done = self._disk.finished()
        for spill in done:
            entry = self._entries[spill.key]
            if entry.state is None:
                self._apply_read(entry, spill)
            else:
                self._apply_write(entry, spill)
        if done:
            self._balance()

    def _apply_write(self, entry: _Entry, spill: Spill) -> None:
        self._writing -= spill.size
        if spill.failed or entry.wanted:
            entry.spill = None
            self._disk.free(spill)
        else:
            entry.state = spill.state = None
            entry.in_ram = False
            self._ram -= spill.size

    def _apply_read(self, entry: _Entry, spill: Spill) -> None:
        if spill.failed:
            self._remove(entry)
        else:
            entry.state, entry.spill = spill.state, None
            self._disk.free(spill)

    def _balance(self) -> None:
        """Start the reads that have room, then write states that exceed the share at rest."""
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
        """States in RAM that may leave it, least recently used first."""
        for entry in list(self._entries.values()):
            if entry.state is not None and entry.spill is None and not entry.wanted:
                yield entry

    def _write(self, entry: _Entry) -> bool:
        """Start writing a state, dropping older ones from the disk if necessary."""
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
        """Drop the least recently used states until `size` bytes of RAM are free; none if that fails."""
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
