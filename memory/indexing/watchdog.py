"""Ends what gives no sign of life."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

__all__ = ["Watchdog"]

_LOOK_S = 1.0


class Watchdog:
    """Calls `bark`, on a thread of its own, when a block takes too long. Watches one block at a time.

    The thread looks now and then: to start a timer for each block took longer than many a search.
    """

    def __init__(self, bark: Callable[[], None]) -> None:
        self._bark = bark
        self._deadline: float | None = None
        self._closed = Event()
        Thread(target=self._watch, name="memory-index-watchdog", daemon=True).start()

    @contextmanager
    def expecting(self, seconds: float) -> Iterator[None]:
        """Bark unless the block ends in so many seconds, or about a second later."""
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = None

    def close(self) -> None:
        """Watch no longer; the thread ends by itself. Calling it twice is fine."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_S):
            deadline = self._deadline
            if deadline is not None and time.monotonic() > deadline:
                self._bark()
