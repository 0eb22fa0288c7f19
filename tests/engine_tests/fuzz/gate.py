"""Stops an engine's thread before each forward pass, so that a test on another thread is reproducible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

from engine_tests.fuzz.model import FuzzBackend

from engine.core import Command, EngineCore
from engine.step import StepPlan, StepResult

__all__ = ["Gate", "GatedBackend"]

_HUNG = 60.0  # seconds after which a thread that should move has hung


class Gate:
    """The engine's thread waits in `enter` until it may `pass`; others wait in `rest` until it waits.

    Attributes:
        ended: whether the engine's thread is done.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._open = False
        self._passes = 0
        self._entered = False
        self._sleeps = False
        self._posted = self._handled = 0
        self.ended = False

    def watch(self, core: EngineCore) -> EngineCore:
        """Know from its first step on whether a core has commands to handle, or sleeps."""
        post, handle, wait, stop = core.post, core._handle, core.wait, core.stop

        def posting(command: Command | None) -> None:
            self._set(posted=1)
            post(command)

        def handling(command: Command | None) -> None:
            self._set(sleeps=False)
            handle(command)
            self._set(handled=1)

        def waiting() -> None:
            core._publish(StepPlan())
            self._set(sleeps=True)
            wait()

        def stopping() -> None:
            stop()
            self.end()

        core.post, core._handle = posting, handling  # type: ignore[method-assign]
        core.wait, core.stop = waiting, stopping  # type: ignore[method-assign]
        return core

    @contextmanager
    def sleeping(self) -> Iterator[bool]:
        """Whether the engine's thread has nothing to do; until the end of the block nobody can wake it."""
        with self._changed:
            yield self._sleeps and self._posted == self._handled and not self.ended

    def enter(self) -> None:
        """Wait to be let through; the engine's thread only."""
        with self._changed:
            self._entered = True
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._open or self._passes, _HUNG)
            self._passes = max(0, self._passes - 1)
            self._entered = False

    def end(self) -> None:
        """The engine's thread is done."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def open(self) -> None:
        """Let everything through."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def step(self) -> None:
        """Let one forward pass through, if one waits, and rest."""
        with self._changed:
            self._passes = int(self._entered)
            self._changed.notify_all()
        self.rest()

    def rest(self) -> None:
        """Wait until the engine's thread waits: at the gate, or for commands."""
        with self._changed:
            assert self._changed.wait_for(self._rests, _HUNG), "the engine's thread hangs"

    def _rests(self) -> bool:
        if self.ended:
            return True
        if self._entered and not self._passes and not self._open:
            return True
        return self._sleeps and self._posted == self._handled

    def _set(self, *, posted: int = 0, handled: int = 0, sleeps: bool | None = None) -> None:
        with self._changed:
            self._posted += posted
            self._handled += handled
            self._sleeps = self._sleeps if sleeps is None else sleeps
            self._changed.notify_all()


class GatedBackend(FuzzBackend):
    """Computes when its gate lets it."""

    gate: Gate

    def execute(self, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        if plan.work:
            self.gate.enter()
        return super().execute(plan, meanwhile)
