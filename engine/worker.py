"""The one thread that calls llama.cpp: it loads the model, steps the core, and replaces the model."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import TypeAlias

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.embedding import EmbeddingBackend, EmbeddingCore
from engine.errors import EngineClosed, EngineCrashed, EngineError
from engine.step import Backend

__all__ = ["AnyBackend", "EngineWorker"]

_log = logging.getLogger(__name__)

# After each call into llama.cpp the engine thread wants the GIL back; by default a busy screen may keep it
# 5 ms.
_SWITCH_S = 0.0005

AnyBackend: TypeAlias = Backend | EmbeddingBackend
Opened: TypeAlias = tuple[EngineCore, Backend] | tuple[EmbeddingCore, EmbeddingBackend]


@dataclass(frozen=True, slots=True)
class _Reload:
    """Replace the backend by one with other settings."""

    config: EngineConfig
    load: Callable[[EngineConfig], AnyBackend]
    done: Future[None]


class EngineWorker:
    """Loads the backend, then steps the core until it is stopped.

    Args:
        config: settings.
        load: makes the backend; runs on this worker's thread.
    """

    def __init__(self, config: EngineConfig, load: Callable[[EngineConfig], AnyBackend]) -> None:
        self._config = config
        self._load = load
        self._stopping = False
        self._reload: _Reload | None = None
        self._ready: Future[Opened] = Future()
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._ended = False
        self.backend: AnyBackend | None = None  # None while there is none
        self.core: EngineCore | EmbeddingCore | None = None
        self.crash: EngineCrashed | None = None

    def start(self) -> Future[Opened]:
        """Start the thread; the future yields core and backend, or raises the error of the load."""
        self._ready.set_running_or_notify_cancel()  # a cancelled waiter must not cancel the load
        self._thread.start()
        return self._ready

    def reload(self, config: EngineConfig, load: Callable[[EngineConfig], AnyBackend]) -> Future[None]:
        """Replace the backend after the current step; nobody else may use it until the future is done.

        The future raises the error of the load: then the old settings are in use again, or the engine has
        crashed.
        """
        self._reload = reload = _Reload(config, load, Future())
        reload.done.set_running_or_notify_cancel()
        if self.core is not None:
            self.core.post(None)
        if self._ended:
            self._refuse_reload()
        return reload.done

    def request_stop(self) -> None:
        """End the thread after its current step."""
        self._stopping = True
        if self.core is not None:
            self.core.post(None)

    def stop(self) -> None:
        """As `request_stop`, and wait until the thread has freed the model."""
        self.request_stop()
        self._thread.join()

    def _run(self) -> None:
        sys.setswitchinterval(_SWITCH_S)
        try:
            opened = core, _ = self._open()
        except BaseException as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(opened)
        try:
            self._loop(core)
            core.close()
        except BaseException as error:
            _log.exception("the engine thread died")
            self.crash = _crash(error)
            core.fail_all(self.crash)
        finally:
            core.stop()
            if self.backend is not None:
                self.backend.close()
            self._ended = True
            self._refuse_reload()

    def _open(self) -> Opened:
        self.backend = backend = self._load(self._config)
        try:
            if isinstance(backend, EmbeddingBackend):
                self.core = embedding = EmbeddingCore(self._config, backend)
                return embedding, backend
            self.core = core = EngineCore(self._config, backend)
            core.start()
        except BaseException:
            backend.close()
            raise
        return core, backend

    def _loop(self, core: EngineCore | EmbeddingCore) -> None:
        while not self._stopping:
            if self._reload is not None:
                reload, self._reload = self._reload, None
                self._replace_backend(core, reload)
                continue  # there is no backend if the engine was closed meanwhile
            if not core.step() and not self._called:
                core.wait()  # the step may have drained the wake-up

    @property
    def _called(self) -> bool:
        """Whether another thread wants something besides steps."""
        return self._stopping or self._reload is not None

    def _replace_backend(self, core: EngineCore | EmbeddingCore, reload: _Reload) -> None:
        assert isinstance(core, EngineCore)
        try:
            self._give_up(core)
            try:
                self._adopt(core, reload.config, reload.load)
            except Exception as error:
                if self._stopping:  # which has stopped the load
                    reload.done.set_exception(EngineClosed("The engine was closed."))
                    return
                self._adopt(core, self._config, self._load)
                reload.done.set_exception(error)
                return
        except BaseException as error:
            why = error.__context__ or error  # why the new settings failed, if they did
            reload.done.set_exception(why if isinstance(why, EngineError) else _crash(error))
            raise
        self._config = reload.config
        reload.done.set_result(None)

    def _give_up(self, core: EngineCore) -> None:
        """Close the backend before the next one is loaded: often there is no room for both."""
        core.suspend()
        backend, self.backend = self.backend, None
        assert backend is not None
        backend.close()

    def _adopt(
        self, core: EngineCore, config: EngineConfig, load: Callable[[EngineConfig], AnyBackend]
    ) -> None:
        backend = load(config)
        try:
            assert not isinstance(backend, EmbeddingBackend)
            core.adopt(config, backend)
        except BaseException:
            backend.close()
            raise
        self.backend = backend

    def _refuse_reload(self) -> None:
        reload, self._reload = self._reload, None
        if reload is not None:
            with suppress(InvalidStateError):  # refused by the other thread
                reload.done.set_exception(self.crash or EngineClosed("The engine was closed."))


def _crash(error: BaseException) -> EngineCrashed:
    crash = EngineCrashed(f"The engine stopped working: {error}. Load the model again.")
    crash.__cause__ = error
    return crash
