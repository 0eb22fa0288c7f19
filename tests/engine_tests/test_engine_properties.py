"""Random traffic against the ledger: whatever happens, cells and streams add up."""

from __future__ import annotations

import asyncio

from engine_tests.fakes import Bench, read
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import RequestError
from engine.core import Forget
from engine.step import StepStatus
from engine.stream import TokenStream

_SUBMIT = st.tuples(
    st.just("submit"), st.integers(1, 90), st.sampled_from([None, "a", "b", "c"]), st.integers(1, 30)
)
_ACTIONS = st.one_of(
    _SUBMIT,
    st.tuples(st.just("step"), st.integers(1, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 10)),
    st.tuples(st.just("forget"), st.sampled_from(["a", "b", "c"])),
    st.tuples(st.just("fault"), st.sampled_from([StepStatus.NO_KV, StepStatus.PARTIAL]), st.integers(0, 3)),
)


@given(actions=st.lists(_ACTIONS, max_size=40), cells=st.integers(64, 160), seats=st.integers(1, 4))
@settings(max_examples=150)
def test_random_traffic_keeps_the_ledger(actions: list[tuple[object, ...]], cells: int, seats: int) -> None:
    asyncio.run(_play(actions, cells, seats))


async def _play(actions: list[tuple[object, ...]], cells: int, seats: int) -> None:
    bench = Bench(cells=cells, max_sessions=seats, cached_sessions=2, max_queue=8)
    streams: list[TokenStream] = []
    for action in actions:
        _act(bench, streams, action)
        assert bench.core.scheduler.cache.used <= cells
    bench.run()
    for stream in streams:
        try:
            text = await read(stream)
        except RequestError:
            continue
        assert stream.finish_reason is not None
        assert ("abcdefghijklmnopqrstuvwxyz" * 8).startswith(text)
    assert bench.backend.samplers == {}
    assert bench.backend.used == bench.core.scheduler.cache.used == bench.core.scheduler.cache.idle_cells
    for session in "abc":
        bench.core.post(Forget(session))
    bench.run()
    bench.core.step()
    assert bench.backend.used == 0


def _act(bench: Bench, streams: list[TokenStream], action: tuple[object, ...]) -> None:
    match action:
        case ("submit", int(length), session, int(limit)):
            prompt = "x" * length
            streams.append(
                bench.submit(prompt, session_id=None if session is None else str(session), max_tokens=limit)
            )
        case ("step", int(count)):
            for _ in range(count):
                bench.core.step()
        case ("cancel", int(index)) if streams:
            streams[index % len(streams)].cancel()
        case ("forget", str(session)):
            bench.core.post(Forget(session))
        case ("fault", StepStatus() as status, int(partial)):
            bench.backend.statuses.append(status)
            bench.backend.partial = partial
