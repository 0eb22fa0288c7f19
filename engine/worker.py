"""The one thread that touches llama.cpp."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread

from engine.backend import Backend
from engine.config import EngineConfig
from engine.core import EngineCore
from engine.errors import EngineCrashed

__all__ = ["EngineWorker"]

_log = logging.getLogger(__name__)

# After each call into llama.cpp this thread wants the GIL back; by default a busy screen may keep it 5 ms.
_SWITCH_S = 0.0005


class EngineWorker:
    """Loads the backend, then steps the core until it is stopped.

    Args:
        config: settings of the engine.
        load: makes the backend; runs on this worker's thread.
    """

    def __init__(self, config: EngineConfig, load: Callable[[], Backend]) -> None:
        self._config = config
        self._load = load
        self._stopping = False
        self._ready: Future[tuple[EngineCore, Backend]] = Future()
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self.core: EngineCore | None = None
        self.crash: EngineCrashed | None = None

    def start(self) -> Future[tuple[EngineCore, Backend]]:
        """Start the thread; the future holds core and backend, or what went wrong while loading."""
        self._ready.set_running_or_notify_cancel()  # a waiter that is cancelled must not cancel it
        self._thread.start()
        return self._ready

    def stop(self) -> None:
        """End the thread after the step it is in; blocks until it has freed the model."""
        self._stopping = True
        if self.core is not None:
            self.core.post(None)
        self._thread.join()

    def _run(self) -> None:
        sys.setswitchinterval(_SWITCH_S)
        try:
            backend = self._load()
        except BaseException as error:
            self._ready.set_exception(error)
            return
        self.core = core = EngineCore(self._config, backend)
        core.mail.start()
        self._ready.set_result((core, backend))
        try:
            self._loop(core)
            core.close()
        except BaseException as error:
            _log.exception("the engine thread died")
            self.crash = EngineCrashed(f"The engine stopped working: {error}. Load the model again.")
            self.crash.__cause__ = error
            core.fail_all(self.crash)
        finally:
            core.mail.stop()
            core.parking.close()
            backend.close()

    def _loop(self, core: EngineCore) -> None:
        while not self._stopping:
            if not core.step() and not self._stopping:  # the step may have drained the wake-up of `stop`
                core.wait()
