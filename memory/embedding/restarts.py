"""When something that failed may be tried again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

__all__ = ["Restarts"]


class Restarts:
    """A circuit breaker: a short delay after a failure, a long pause after several.

    Args:
        limit: so many failures within `window_s` begin a pause.
        window_s: should be longer than `limit` starts that time out, or those would never begin one.
        pause_s: how long it takes; one more failure within the window begins the next.
        delay_s: before the second start; doubled before each further one.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        *,
        limit: int = 3,
        window_s: float = 600.0,
        pause_s: float = 300.0,
        delay_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._pause_s = pause_s
        self._delay_s = delay_s
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=limit)
        self._paused_until = clock()

    @property
    def pause_left_s(self) -> float:
        """Seconds until a pause ends; 0 when there is none."""
        return max(0.0, self._paused_until - self._clock())

    def record_failure(self) -> float:
        """Note a failure; gives the seconds to wait before the next start."""
        now = self._clock()
        while self._failures and now - self._failures[0] > self._window_s:
            self._failures.popleft()
        self._failures.append(now)
        if len(self._failures) == self._limit:
            self._paused_until = now + self._pause_s
            return self._pause_s
        return self._delay_s * 2.0 ** (len(self._failures) - 1)
