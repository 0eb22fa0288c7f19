"""How long an event loop stands still while something goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

__all__ = ["Stalls"]

_TICK_S = 0.001


class Stalls:
    """Sleeps a millisecond again and again, and notes how much later it woke.

    On a machine that does other work, too, the loop stands still at times all by itself: measure that as
    well, with nothing going on.
    """

    def __init__(self) -> None:
        self._late_s: list[float] = []

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the loop during the block."""
        watch = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            watch.cancel()

    @property
    def worst_ms(self) -> float:
        """The longest time that the loop stood still."""
        return 1e3 * max(self._late_s, default=0.0)

    async def _watch(self) -> None:
        while True:
            start = perf_counter()
            await asyncio.sleep(_TICK_S)
            self._late_s.append(max(0.0, perf_counter() - start - _TICK_S))
