"""Whether an event loop keeps turning while messages are stored, embedded and indexed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from bench.cli import BenchError, note
from bench.memory.synthetic import SyntheticTalk
from memory import Embedder, IndexState, IndexStatus, Memory, Role

__all__ = ["Stalls", "measure_stall", "wait_until_ready"]

_TICK_S = 0.001


async def measure_stall(turns: int, embedder: Embedder) -> dict[str, Any]:
    """The worst stalls of this loop in milliseconds, while indexing and for as long when idle.

    As in the chat, embedder and Chroma run in processes of their own and every memory call on a thread. Model
    and index are open before the measurement starts. Closes the embedder.
    """
    said = [message for chat in SyntheticTalk().sessions(turns) for message in chat]
    with tempfile.TemporaryDirectory() as folder:
        memory = await asyncio.to_thread(Memory, Path(folder) / "chats.db", embedder=embedder)
        try:
            await asyncio.to_thread(open_index, memory)
            indexing, idle = Stalls(), Stalls()
            start = perf_counter()
            async with indexing.watching():
                await store(memory, said)
                await asyncio.to_thread(wait_until_indexed, memory, turns)
            seconds = perf_counter() - start
            async with idle.watching():
                await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(memory.close)
    note(f"Watched the event loop for twice {seconds:.0f} s.")
    return {
        "turns": turns,
        "seconds": round(seconds, 1),
        "indexing": round(indexing.worst_ms, 1),
        "idle": round(idle.worst_ms, 1),
    }


async def store(memory: Memory, said: list[tuple[Role, str]]) -> None:
    """Store one message after the other, as a chat does."""
    session = await asyncio.to_thread(memory.create_session)
    for role, text in said:
        await asyncio.to_thread(memory.add_message, session.id, role, text)


def open_index(memory: Memory) -> None:
    """Load the model and open the index by storing one message."""
    session = memory.create_session()
    memory.add_message(session.id, "user", "Is anybody there?")
    memory.start_indexing()
    wait_until_ready(memory.index_status)


def wait_until_indexed(memory: Memory, turns: int) -> None:
    """Wait until at least `turns` passages have a vector."""
    while memory.index_status().embedded < turns:
        wait_until_ready(memory.index_status)
        sleep(0.1)


def wait_until_ready(status: Callable[[], IndexStatus]) -> None:
    """Wait until every passage has a vector.

    Raises:
        BenchError: search by meaning is unavailable.
    """
    while (now := status()).state is not IndexState.READY:
        if now.state in (IndexState.UNAVAILABLE, IndexState.OFF):
            raise BenchError(f"Search by meaning is unavailable: {now.reason}")
        sleep(0.05)


class Stalls:
    """Sleeps a millisecond at a time and records how late each wake-up is.

    On a busy machine an idle loop stalls too, so measure that beside it as a control.
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
        """The longest stall."""
        return 1e3 * max(self._late_s, default=0.0)

    async def _watch(self) -> None:
        while True:
            start = perf_counter()
            await asyncio.sleep(_TICK_S)
            self._late_s.append(max(0.0, perf_counter() - start - _TICK_S))
