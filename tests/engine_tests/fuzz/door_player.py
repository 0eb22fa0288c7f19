"""Plays a program through the engine's door, with its threads.

A gate before each forward pass makes a run reproducible; without it, the threads race.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path
from unittest import mock

from engine_tests.fuzz.audit import check_empty
from engine_tests.fuzz.disk import FaultyDisk
from engine_tests.fuzz.gate import Gate, GatedBackend
from engine_tests.fuzz.model import BackendBug, Licences
from engine_tests.fuzz.player import Asked, Player, small_limits
from engine_tests.fuzz.program import (
    SESSIONS,
    Action,
    Bomb,
    Cancel,
    Change,
    DiskFault,
    Focus,
    Forget,
    Reload,
    Setup,
    Step,
)

from engine import Engine, EngineClosed, EngineConfig, EngineCrashed, GenerationRequest, TokenStream
from engine.core import EngineCore

__all__ = ["play_door"]

_HUNG = 60.0  # seconds after which a reader that should have got its end has hung


class DoorPlayer(Player):
    """Owns an engine, and a loop that reads.

    Args:
        gated: whether forward passes wait until the program wants them.
    """

    def __init__(self, setup: Setup, folder: Path, *, gated: bool) -> None:
        super().__init__(setup, ordered=gated)
        self._folder = folder if setup.blocks else None
        self._config = setup.config(self._folder)
        self._gated = gated

    @property
    def core(self) -> EngineCore:
        return self._core

    @property
    def backend(self) -> GatedBackend:
        return self._backend

    async def _start(self) -> None:
        self._gate, self._licences = Gate(), Licences()
        self._engine = Engine(self._config, load=lambda config, progress: self._load(config))
        with mock.patch("engine.worker.EngineCore", lambda *given: self._gate.watch(EngineCore(*given))):
            await self._engine.start()
        assert self._engine._core is not None
        self._core = self._engine._core
        self._gate.rest()
        FaultyDisk.faults.clear()
        self.shrink(self._folder)
        self.ledger.begin()
        if not self._gated:
            self._gate.open()

    def _load(self, config: EngineConfig) -> GatedBackend:
        setup = self.setup
        backend = GatedBackend(
            config,
            cells=setup.all_cells(config),
            context=setup.cells,
            cuts=setup.cuts,
            offloaded=setup.offloaded,
        )
        backend.gate, backend.licences = self._gate, self._licences
        self._backend = backend
        return backend

    def submit(self, asked: Asked) -> list[TokenStream]:
        tokens = [ord(char) for message in asked.messages for char in message.content + "\0"]
        request = GenerationRequest(
            messages=asked.messages if asked.form not in ("text", "tokens") else (),
            text="".join(map(chr, tokens)) if asked.form == "text" else None,
            tokens=tokens if asked.form == "tokens" else None,
            sampling=asked.sampling,
            session_id=asked.session,
            priority=asked.priority,
            progress=asked.progress,
            n=asked.n,
        )
        return self._engine.candidates(request) if asked.n > 1 else [self._engine.submit(request)]

    async def play(self, program: list[Action]) -> None:
        """Do all actions, then read everything and look for what is left."""
        before = {*threading.enumerate()}
        await self._start()
        try:
            await self._play(program)
        finally:  # also after a failure, or the threads would be in the way of the next program
            self._gate.open()
            await self._engine.close()
        names = [thread.name for thread in {*threading.enumerate()} - before]
        assert not [name for name in names if name.startswith(("engine", "parking"))]

    async def _play(self, program: list[Action]) -> None:
        for action in program:
            try:
                await self._act(action)
            except EngineCrashed:  # raised by `submit`
                await self._end()
            if self._gated:
                await self._settle()
                if self._gate.ended:
                    await self._end()
        await self._read_everything()
        if not self._gate.ended:
            self.ledger.check_stats(self._engine.stats())
            await self._leave_nothing()
        await self._end(again=False)

    async def _act(self, action: Action) -> None:
        match action:
            case Step(count):
                await self._steps(count)
            case Forget(session):
                self._engine.forget(session)
                self.forgotten[session] = len(self.ledger.requests)
            case Focus(session):
                self._engine.focus(session)
            case Change():
                await self._change(action)
            case Reload():
                await self._end()
            case Bomb(method):
                self._backend.bomb = method
            case DiskFault(kind):
                FaultyDisk.faults.append(kind)
            case _:
                self.common(action)
                if isinstance(action, Cancel) and self._gated:
                    await self._cancelled()

    async def _steps(self, count: int) -> None:
        for _ in range(count):
            if not self._gated:
                await asyncio.sleep(0)
            elif self._gate.ended:
                break
            else:
                self._gate.step()
                self._audit()
            self.read_fast()
            self.ledger.check_snapshot(self._engine.stats())

    async def _change(self, action: Change) -> None:
        """Other settings; for a reload, a step that has begun must end."""
        self._config = config = action.applied(self._engine.config)
        self.changed(config)
        worker = self._engine._worker
        assert worker is not None
        changing = asyncio.create_task(self._engine.change(config))
        while not changing.done():
            await asyncio.sleep(0)
            if self._gated and worker._reload is not None:
                self._gate.step()
        await changing
        if self._gated:
            self._gate.rest()
            self.shrink(self._folder)

    async def _settle(self) -> None:
        """Wait until all prompts are prepared and the engine's thread waits."""
        for threads in (self._engine._prepare, self._engine._compile):
            await asyncio.wrap_future(threads.submit(int))
        self._gate.rest()
        self._audit()

    def _audit(self) -> None:
        with self._gate.sleeping() as asleep:  # or a disk that is done wakes it meanwhile
            if asleep:
                self.check_books()
                self.check_forgotten()

    async def _cancelled(self) -> None:
        """What was asked to end has, after a step (which has a forward pass for each part of a bad batch)."""
        await self._settle()
        open_ = [each.stream for each in self.ledger.live if each.cancelled]
        for _ in range(1 + self._config.sequences):
            if not self._gate.ended and any(stream._outcome is None for stream in open_):
                self._gate.step()
        assert all(stream._outcome is not None for stream in open_)

    async def _read_everything(self) -> None:
        self._gate.open()
        async with asyncio.timeout(_HUNG), asyncio.TaskGroup() as readers:
            for request in self.ledger.live:
                readers.create_task(request.follow())
        await self._settle()
        if self._gate.ended:  # see `_end`
            return
        self.ledger.check_ends(self._backend)

    async def _leave_nothing(self) -> None:
        self._backend.bomb = ""
        for session in SESSIONS:
            self._engine.forget(session)
        self._gate.rest()
        parking = self._core.parking
        for _ in range(1000):  # a write under way keeps its blocks
            if not parking.disk_bytes_used:
                break
            await asyncio.sleep(0.001)
            self._engine.forget(SESSIONS[0])
            self._gate.rest()
        with self._gate.sleeping():
            check_empty(self._core, self._backend)

    async def _end(self, *, again: bool = True) -> None:
        """Close the engine; then start another."""
        worker = self._engine._worker
        assert worker is not None
        closing = asyncio.create_task(self._engine.close())
        while not worker._stopping:  # noqa: ASYNC110 - it has no event, and need not
            await asyncio.sleep(0)
        self._gate.open()
        await asyncio.wait_for(closing, _HUNG)
        assert self._backend.closed
        if worker.crash is not None and not isinstance(worker.crash.__cause__, BackendBug):
            raise worker.crash
        self.ledger.leave(EngineClosed if worker.crash is None else EngineCrashed, self._backend)
        if again:
            await self._start()


async def play_door(setup: Setup, program: list[Action], *, gated: bool) -> None:
    """One program from start to end."""
    with (
        small_limits(setup.unread),
        mock.patch("engine.kv.spill.FileThread", FaultyDisk),
    ):
        await DoorPlayer(setup, Path(tempfile.gettempdir()), gated=gated).play(program)
