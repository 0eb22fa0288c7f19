"""Empties the write-ahead log of text that was deleted, also after a reader has kept it busy."""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread

from memory.errors import StoreError
from memory.storage.database import Database
from memory.storage.state import Settings

__all__ = ["Eraser"]

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class Eraser:
    """Copies the log into the file and empties it; until then both may hold what was deleted.

    That is impossible while another program reads what the log holds. Then a thread of this process tries
    again until it succeeds, and a process that opens the store later does, too. Every method may be called
    from any thread.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._starting = Lock()
        self._closing = Event()
        self._erased = Event()
        self._erased.set()
        self._thread: Thread | None = None

    def run(self) -> bool:
        """Erase what was deleted so far; False if another program prevents it now, and it is done later."""
        if self._database.call(self._try):
            return True
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                self._erased.clear()
                self._thread = Thread(target=self._keep_trying, name="memory-eraser", daemon=True)
                self._thread.start()
        return False

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to erase; False if that takes longer."""
        return self._erased.wait(seconds)

    def close(self) -> None:
        """End the thread. Safe to call twice."""
        self._closing.set()
        with self._starting:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _try(self) -> bool:
        done = self._database.checkpoint()
        if self._settings.erasure_due is done:  # else the file already says so
            self._settings.erasure_due = not done
        return done

    def _keep_trying(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._closing.wait(pause):
            try:
                done = self._database.call(self._try)
            except StoreError as error:
                _log.warning("Deleted text could not be erased yet: %s", error)
                done = False
            if done:
                break
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        else:
            return
        with self._starting:
            self._thread = None
            self._erased.set()
