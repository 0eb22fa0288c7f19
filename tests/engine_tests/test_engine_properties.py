"""Random traffic against the ledger: whatever happens, cells and streams add up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_tests.fakes import Bench, read
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Priority, RequestError
from engine.core import Focus, Forget
from engine.step import StepStatus
from engine.stream import TokenStream

_SESSIONS = [None, "a", "b", "c", "d"]
_HEADS = ["", "s" * 20, "s" * 20 + "t" * 30, "u" * 40]
_ACTIONS = st.one_of(
    st.tuples(
        st.just("submit"),
        st.sampled_from(_HEADS),
        st.integers(1, 90),
        st.sampled_from(_SESSIONS),
        st.integers(1, 30),
        st.sampled_from(Priority),
    ),
    st.tuples(st.just("fork"), st.integers(2, 4), st.integers(40, 80)),
    st.tuples(st.just("step"), st.integers(1, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 10)),
    st.tuples(st.just("forget"), st.sampled_from(_SESSIONS[1:])),
    st.tuples(st.just("focus"), st.sampled_from(_SESSIONS)),
    st.tuples(st.just("pause"), st.integers(0, 10)),
    st.tuples(st.just("bad state")),
    st.tuples(
        st.just("fault"),
        st.sampled_from([StepStatus.NO_KV, StepStatus.PARTIAL, StepStatus.INVALID]),
        st.integers(0, 3),
    ),
)


@pytest.mark.parametrize("layout", ["unified", "split"])
@pytest.mark.parametrize("speculation", ["on", "off"])
@pytest.mark.parametrize("examples", [50, pytest.param(5000, marks=pytest.mark.campaign)])
def test_random_traffic_keeps_the_ledger(layout: str, speculation: str, examples: int) -> None:
    @given(
        actions=st.lists(_ACTIONS, max_size=40),
        cells=st.integers(96, 200),
        places=st.integers(1, 4),
        parks=st.booleans(),
        cuts=st.booleans(),
    )
    @settings(max_examples=examples)
    def traffic(actions: list[tuple[Any, ...]], cells: int, places: int, parks: bool, cuts: bool) -> None:
        sizes = {"cells": cells * places, "context": cells} if layout == "split" else {"cells": cells}
        bench = Bench(
            **sizes,
            max_sessions=places,
            cached_sessions=2,
            max_queue=8,
            kv_layout=layout,
            speculation=speculation,
            parked_ram_mib=1 if parks else 0,
            partial_removal=cuts,
        )
        asyncio.run(_play(bench, actions))

    traffic()


async def _play(bench: Bench, actions: list[tuple[Any, ...]]) -> None:
    cache, backend, scheduler = bench.core.scheduler.cache, bench.backend, bench.core.scheduler
    streams: list[TokenStream] = []
    for action in actions:
        _act(bench, streams, action)
        assert cache.used <= cache.cells
    for sequence in [*scheduler.running, *scheduler.waiting]:
        scheduler.resume(sequence)
    bench.run()
    for stream in streams:
        try:
            text = await read(stream)
        except RequestError:
            continue
        assert stream.finish_reason is not None
        assert ("abcdefghijklmnopqrstuvwxyz" * 8).startswith(text)
    assert backend.samplers == {}
    assert backend.used == cache.used == cache.reclaimable()
    for session in _SESSIONS[1:]:
        assert session is not None
        bench.core.post(Forget(session))
    bench.run()
    bench.core.step()
    assert scheduler.parking.count == 0
    while (moves := cache.evict()) is not None:  # what is left is pinned
        bench.core._make(moves)
    assert backend.used == cache.used == 0


def _act(bench: Bench, streams: list[TokenStream], action: tuple[Any, ...]) -> None:
    match action:
        case ("submit", head, length, session, limit, priority):
            stream = bench.submit(
                "x" * length, system=head, session_id=session, max_tokens=limit, priority=priority
            )
            streams.append(stream)
        case ("fork", count, length):
            streams += [bench.submit("y" * length, max_tokens=10) for _ in range(count)]
        case ("step", count):
            for _ in range(count):
                bench.core.step()
        case ("cancel", index) if streams:
            streams[index % len(streams)].cancel()
        case ("forget", session):
            bench.core.post(Forget(session))
        case ("focus", session):
            bench.core.post(Focus(session))
        case ("pause", index) if running := bench.core.scheduler.running:
            bench.core.scheduler.pause(running[index % len(running)])
        case ("bad state",):
            bench.backend.bad_states += 1
        case ("fault", status, partial):
            bench.backend.statuses.append(status)
            bench.backend.partial = partial
