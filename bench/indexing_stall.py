"""Whether an event loop keeps turning while messages are stored, embedded and indexed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from bench.cli import note
from bench.errors import BenchError
from bench.stalls import Stalls
from bench.synthetic_talk import SyntheticTalk
from memory import Embedder, IndexState, IndexStatus, Memory, Role

__all__ = ["measure_stall", "wait_until_ready"]


async def measure_stall(turns: int, embedder: Embedder) -> dict[str, Any]:
    """Worst stalls of this loop, in milliseconds: while it indexes, and for as long while it does not.

    The chat's way: embedder and Chroma in processes of their own, every call to the memory on a thread.
    Model and index are open before the measurement begins. Closes the embedder.
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
    note(f"The event loop was watched for twice {seconds:.0f} s.")
    return {
        "turns": turns,
        "seconds": round(seconds, 1),
        "indexing": round(indexing.worst_ms, 1),
        "idle": round(idle.worst_ms, 1),
    }


async def store(memory: Memory, said: list[tuple[Role, str]]) -> None:
    """One message after the other, as a chat does."""
    session = await asyncio.to_thread(memory.create_session)
    for role, text in said:
        await asyncio.to_thread(memory.add_message, session.id, role, text)


def open_index(memory: Memory) -> None:
    """Load the model and open the index, with one message to try them on."""
    session = memory.create_session()
    memory.add_message(session.id, "user", "Is anybody there?")
    memory.start_indexing()
    wait_until_ready(memory.index_status)


def wait_until_indexed(memory: Memory, turns: int) -> None:
    """Until so many passages, at least, have a vector."""
    while memory.index_status().embedded < turns:
        wait_until_ready(memory.index_status)
        sleep(0.1)


def wait_until_ready(status: Callable[[], IndexStatus]) -> None:
    """Until every passage has a vector.

    Raises:
        BenchError: that is impossible.
    """
    while (now := status()).state is not IndexState.READY:
        if now.state in (IndexState.UNAVAILABLE, IndexState.OFF):
            raise BenchError(f"There is no search by meaning: {now.reason}")
        sleep(0.05)
