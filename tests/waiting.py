"""Waiting for what has no event to await; the limits only end a test that would hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["block_until", "until"]

_TIMEOUT_S = 150.0


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until something is so."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.002)


def block_until(condition: Callable[[], object]) -> None:
    """Wait for another thread or process."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)
