"""Plays a program on the core, one step at a time: a run is reproducible to the last move."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

from engine_tests.fuzz.audit import check_empty
from engine_tests.fuzz.disk import HandDisk
from engine_tests.fuzz.ledger import Request, prompt_of
from engine_tests.fuzz.model import BackendBug, FuzzBackend, Licences
from engine_tests.fuzz.player import Asked, Player, small_limits
from engine_tests.fuzz.program import (
    SESSIONS,
    Action,
    Bomb,
    Cancel,
    Change,
    DiskFault,
    DiskWork,
    Focus,
    Forget,
    Reload,
    Setup,
    Step,
)

from engine import EngineClosed, EngineConfig, EngineCrashed, TokenStream
from engine import core as commands
from engine.core import EngineCore
from engine.step import StepPlan
from engine.text import EncodedPrompt

__all__ = ["play_core"]

_SPARE = 100  # steps for what faults, full disks and empty queues cost


class CorePlayer(Player):
    """Owns a core and is its thread."""

    def __init__(self, setup: Setup, folder: Path | None) -> None:
        super().__init__(setup)
        self._folder = folder if setup.blocks else None
        self._config = setup.config(self._folder)
        self._asked: list[Request] = []  # to cancel, before the step that must do it
        self._start()

    @property
    def core(self) -> EngineCore:
        return self._core

    @property
    def backend(self) -> FuzzBackend:
        return self._backend

    def _start(self) -> None:
        self._loaded, self._licences = self._config, Licences()
        self._backend = self._load()
        self._core = EngineCore(self._config, self._backend)
        HandDisk.disks.clear()
        HandDisk.faults.clear()
        self.shrink(self._folder)
        self.ledger.begin()

    def _load(self) -> FuzzBackend:
        setup = self.setup
        backend = FuzzBackend(
            self._config,
            cells=setup.all_cells(self._config),
            context=setup.cells,
            cuts=setup.cuts,
            offloaded=setup.offloaded,
        )
        backend.licences = self._licences
        return backend

    def submit(self, asked: Asked) -> list[TokenStream]:
        if asked.refused:  # by the encoder, before there is a stream
            return []
        return [self._submit(asked, number) for number in range(asked.n)]

    def _submit(self, asked: Asked, number: int) -> TokenStream:
        stream = TokenStream(
            asyncio.get_running_loop(),
            lambda stream: self._core.post(commands.Cancel(stream)),
            lambda stream: self._core.post(commands.Resume(stream)),
        )
        session = None if number else asked.session
        tokens = prompt_of(asked.messages)
        prompt = EncodedPrompt(tokens)
        if asked.form not in ("text", "tokens"):
            prompt = self._core.encoder.encode(asked.messages, session)
            assert prompt.tokens == tokens
        assert asked.sampling.seed is not None
        self._core.post(
            commands.Submit(
                stream=stream,
                tokens=prompt.tokens,
                head_tokens=prompt.head_tokens,
                turn_tokens=prompt.turn_tokens,
                sampling=replace(asked.sampling, seed=asked.sampling.seed + number),
                session_id=session,
                priority=asked.priority,
                progress=asked.progress,
                submitted=0.0,
            )
        )
        return stream

    def play(self, program: list[Action]) -> None:
        """Do all actions, then read everything and look for what is left."""
        for action in program:
            self._act(action)
        for request in self.ledger.live:
            request.slow = False
        self._run()
        for request in self.ledger.live:
            request.read_all()
        self.ledger.check_ends(self._backend)
        self.check_forgotten()
        self._core._publish(StepPlan())  # as a thread does before it sleeps
        self.ledger.check_stats(self._core.stats())
        self._leave_nothing()
        self._core.close()
        self._core.stop()

    def _act(self, action: Action) -> None:
        match action:
            case Step(count):
                for _ in range(count):
                    self._step()
                if self._core._inbox.empty():
                    self.check_forgotten()
            case Forget(session):
                self._core.post(commands.Forget(session))
                self.forgotten[session] = len(self.ledger.requests)
            case Focus(session):
                self._core.post(commands.Focus(session))
            case Change():
                self._change(action.applied(self._config))
            case Reload():
                self._core.close()
                self._end(EngineClosed)
            case Bomb(method):
                self._backend.bomb = method
            case DiskFault(kind):
                HandDisk.faults.append(kind)
            case DiskWork(count):
                for _ in range(count):
                    self._disk_works()
            case _:
                self.common(action)
                if isinstance(action, Cancel):
                    self._asked = [each for each in self.ledger.live if each.cancelled]

    def _change(self, config: EngineConfig) -> None:
        """As `Engine.change` and its thread do."""
        self._config = config
        self.changed(config)
        if not self._loaded.reload_for(config):
            self._core.post(commands.Change(config))
            return
        before = self._backend
        try:
            self._core.suspend()
            assert not before.samplers
            self._loaded, self._backend = config, self._load()
            self._core.adopt(config, self._backend)
        except BackendBug as error:
            self._crash(error)
            return
        self.shrink(self._folder)
        self.check_books()

    def _crash(self, error: BackendBug) -> None:
        self._core.fail_all(EngineCrashed(str(error)))
        self._end(EngineCrashed)

    def _step(self) -> bool:
        try:
            busy = self._core.step()
        except BackendBug as error:
            self._crash(error)
            return True
        self.check_books()
        for request in self._asked:
            assert request.stream._outcome is not None, "a cancel takes effect within a step"
        self._asked.clear()
        self.read_fast()
        while self.setup.fast_disk and self._disk_works():
            pass
        return busy

    def _run(self) -> None:
        """Step until nothing is left to do, which must not take more steps than the answers need; then only
        those may be unfinished whose readers lag."""
        needed = sum(
            len(each.prompt) + len(each.expected.tokens) for each in self.ledger.live if each.expected
        )
        for _ in range(_SPARE + 2 * needed):
            if not self._step() and self._core._inbox.empty() and not self._disk_works():
                break
        else:
            raise AssertionError("somebody starves")
        scheduler = self._core.scheduler
        assert all(sequence.paused for sequence in [*scheduler.running, *scheduler.waiting]), "it is stuck"

    def _end(self, error: type[EngineClosed]) -> None:
        """The engine has ended; start another."""
        self._asked.clear()
        self._core.stop()
        self.ledger.leave(error, self._backend)
        self._start()

    def _disk_works(self) -> bool:
        return any(disk.work() for disk in HandDisk.disks)

    def _leave_nothing(self) -> None:
        self._backend.faults.clear()
        self._backend.bomb = ""
        for session in SESSIONS:
            self._core.post(commands.Forget(session))
        self._run()
        self._core.parking._settle()
        check_empty(self._core, self._backend)


async def play_core(setup: Setup, program: list[Action]) -> None:
    """One program from start to end."""
    with (
        small_limits(setup.unread),
        mock.patch("engine.kv.spill.FileThread", HandDisk),
    ):
        CorePlayer(setup, Path(tempfile.gettempdir())).play(program)
