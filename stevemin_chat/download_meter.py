"""How fast a download goes and how long it will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from stevemin_chat.units import human_bytes, human_seconds

__all__ = ["DownloadMeter"]

_WINDOW_S = 5.0
_MIN_INTERVAL_S = 0.1  # between two lines
_BAR_CELLS = 20


class DownloadMeter:
    """Turns bytes that arrive into lines for a person.

    Args:
        show: gets a line, at most ten times a second.
    """

    def __init__(self, show: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._clock = clock
        self._points: deque[tuple[float, int]] = deque()
        self._file = ""
        self._shown_at = float("-inf")

    def update(self, file: str, done: int, size: int) -> None:
        """`done` of `size` bytes of `file` are here."""
        now = self._clock()
        if file != self._file:
            self._file = file
            self._points.clear()
        self._points.append((now, done))
        while now - self._points[0][0] > _WINDOW_S:
            self._points.popleft()
        if now - self._shown_at >= _MIN_INTERVAL_S or done == size:
            self._shown_at = now
            self._show(self._line(done, size))

    def _line(self, done: int, size: int) -> str:
        share = done / size if size else 1.0
        full = int(share * _BAR_CELLS)
        (start, first), (end, last) = self._points[0], self._points[-1]
        bar = "#" * full + "." * (_BAR_CELLS - full)
        line = f"[{bar}] {share:4.0%}  {human_bytes(done)} of {human_bytes(size)}"
        if end > start and last > first:
            rate = (last - first) / (end - start)
            line += f"  {human_bytes(rate)}/s  {human_seconds((size - done) / rate)} left"
        return line
