"""Requests of random length with random cancels and forks: afterwards everything is as it was.

A few hundred requests in the suite, thousands in a campaign.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from engine_tests.real import THREADS, backend_of, read, request, settle

from engine import Engine, EngineConfig, FinishReason, TokenStream

_WORDS = [
    "the",
    "sea",
    "keeps",
    "its",
    "own",
    "time",
    "and",
    "no",
    "lamp",
    "burns",
    "for",
    "ever",
    "in",
    "a",
    "tower",
    "of",
    "stone",
]
_HEADS = ["", "You keep a lighthouse. " * 8, "You are a ship. " * 20]


class Traffic:
    """Submits, cancels and reads at random, a few dozen at a time."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._random = random.Random(seed)
        self._room = asyncio.Semaphore(48)
        self.ends: Counter[FinishReason | None] = Counter()

    async def run(self, count: int) -> None:
        """Send `count` requests and read each to its end."""
        async with asyncio.TaskGroup() as tasks:
            sent = 0
            while sent < count:
                forks = self._random.choice([1, 1, 1, 1, 1, 2, 3])
                for _ in range(forks):
                    await self._room.acquire()
                for stream in self._submit(forks):
                    tasks.create_task(self._read(stream))
                sent += forks

    def _submit(self, forks: int) -> list[TokenStream]:
        r = self._random
        number = r.randrange(40)
        session = r.choice([None, f"s{number}"])
        history = f"Chat {number}. " * 12 if session else ""
        text = history + " ".join(r.choices(_WORDS, k=r.choice([3, 10, 40, 120])))
        what = request(
            text,
            system=r.choice(_HEADS),
            session_id=session,
            max_tokens=r.choice([1, 3, 8, 30]),
            temperature=r.choice([0.0, 0.8]),
            ignore_eos=True,
            n=forks,
        )
        if session is not None and r.random() < 0.05:
            self._engine.forget(session)
        self._engine.focus(session)
        return self._engine.candidates(what)

    async def _read(self, stream: TokenStream) -> None:
        delay = self._random.choice([None, None, None, 0.0, 0.01, 0.1])
        if delay is not None:
            asyncio.get_running_loop().call_later(delay, stream.cancel)
        answer = await read(stream)
        self.ends[answer.reason] += 1
        self._room.release()


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("layout", ["unified", "split"])
async def test_soak(random_model: Callable[[str], Path], tmp_path: Path, layout: str, count: int) -> None:
    config = EngineConfig(
        model_path=random_model("tiny"),
        max_sessions=8,
        cached_sessions=8,
        context_tokens=4096 if layout == "split" else 1536,
        kv_layout=layout,  # type: ignore[arg-type]
        speculation="on",
        threads=THREADS,
        parked_ram_mib=2,
        parked_disk_mib=64,
        parked_folder=tmp_path,
    )
    process = psutil.Process()
    async with Engine(config) as engine:
        _park_everything(engine)
        await Traffic(engine, 0).run(count // 10)
        baseline = await _baseline(engine)
        files, memory = process.num_fds(), _memory(process)
        traffic = Traffic(engine, 1)
        await traffic.run(count // 2)
        await settle(engine)
        middle = _memory(process)
        await traffic.run(count // 2)
        assert await _baseline(engine) == baseline
        stats = engine.stats()
        assert traffic.ends.total() >= count
        assert traffic.ends[FinishReason.LENGTH] > count / 3
        assert traffic.ends[FinishReason.CANCELLED] > count / 20
        assert stats.requests_failed == 0
        assert min(stats.evicted, stats.restored, stats.cached_tokens, stats.accepted_tokens) > 0
        assert process.num_fds() <= files + 1  # parked states' file is opened when RAM is first full
        assert _memory(process) - middle < max(32 << 20, (middle - memory) // 2), "memory keeps growing"
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("engine", "sample", "park"))]


async def _baseline(engine: Engine) -> tuple[int, list[int]]:
    """The leak oracle with nothing kept: size of the context's state, and each slot's tokens."""
    await settle(engine)
    for number in range(40):
        engine.forget(f"s{number}")
    await settle(engine)
    assert engine.stats().parked == 0
    assert engine._core is not None
    cache = engine._core.scheduler.cache
    while (
        evicted := cache.evict()
    ) is not None:  # only pins are left; the idle engine thread is not in the way
        engine._core._make(evicted)
    assert cache.used == 0
    backend = backend_of(engine)
    return backend.state_bytes(), [backend.resident(slot) for slot in range(engine.config.sequences)]


def _park_everything(engine: Engine) -> None:
    """So small a model computes as fast as it is saved, and whether parking pays would be chance."""
    assert engine._core is not None
    engine._core.scheduler.cache.worth_parking = lambda tokens: tokens >= 32


def _memory(process: psutil.Process) -> int:
    """Resident bytes, without what was freed and not yet given back to the system."""
    gc.collect()
    with suppress(AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
    return int(process.memory_info().rss)
