"""Loading while the screen lives: one load at a time, and when the chats may answer again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from waiting import until

from engine.errors import LoadCancelled, ModelNotFound
from stevemin_chat.models.loading import ModelLoader


class FakeModel:
    """Loads until the test says it is done; notes how many loads run at a time."""

    def __init__(self) -> None:
        self.loads: dict[str, asyncio.Future[str]] = {}
        self.reloads: list[bool] = []
        self.at_once = self.most_at_once = 0
        self.slow_to_stop: asyncio.Event | None = None

    async def check(self, name: str) -> Path:
        if name == "nobody":
            raise ModelNotFound("There is no model nobody.")
        return Path(name)

    async def load(self, name: str, on_progress: Callable[[float], None], *, reload: bool) -> str:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.reloads.append(reload)
        self.loads[name] = asyncio.get_running_loop().create_future()
        on_progress(0.4)
        try:
            return await self.loads[name]
        except asyncio.CancelledError:
            if self.slow_to_stop is not None:
                await self.slow_to_stop.wait()
            raise
        finally:
            self.at_once -= 1


class Place:
    """A loader between a model and chats that do what the test says."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.model = FakeModel()
        self.answers = self
        self.engine_down = False
        self.loader = ModelLoader(cast(Any, self.model), cast(Any, self), lambda: None)

    def engine_back(self) -> None:
        self.engine_down = False

    async def pause(self) -> None:
        self.journal.append("pause")

    def resume(self) -> None:
        self.journal.append("resume")

    def load(self, name: str) -> asyncio.Task[Any]:
        return asyncio.create_task(self.loader.load(name))

    async def loading(self, name: str) -> None:
        await until(lambda: name in self.model.loads)


@pytest.fixture
def place() -> Place:
    return Place()


async def test_a_load_pauses_the_chats_and_resumes_them(place: Place) -> None:
    place.engine_down = True
    task = place.load("one")
    await place.loading("one")
    assert (place.loader.name, place.loader.progress, place.journal) == ("one", 0.4, ["pause"])
    place.model.loads["one"].set_result("info")
    assert await task == "info"
    assert (place.loader.name, place.journal) == (None, ["pause", "resume"])
    assert (place.model.reloads, place.engine_down) == ([True], False)


async def test_a_name_that_leads_nowhere_costs_nothing(place: Place) -> None:
    task = place.load("one")
    await place.loading("one")
    with pytest.raises(ModelNotFound):
        await place.loader.load("nobody")
    assert place.loader.name == "one"
    assert place.journal == ["pause"]
    place.model.loads["one"].set_result("info")
    assert await task == "info"


async def test_of_several_loads_the_last_wins_and_no_two_run_together(place: Place) -> None:
    first = place.load("one")
    await place.loading("one")
    second, third = place.load("two"), place.load("three")
    await place.loading("three")
    assert "resume" not in place.journal, "the chats wait for the last load"
    assert place.loader.name == "three"
    place.model.loads["three"].set_result("info")
    assert [await task for task in (first, second, third)] == [None, None, "info"]
    assert place.model.most_at_once == 1
    assert "two" not in place.model.loads
    assert place.journal[-1] == "resume"


async def test_a_load_that_is_slow_to_stop_is_waited_for(place: Place) -> None:
    place.model.slow_to_stop = asyncio.Event()
    first = place.load("one")
    await place.loading("one")
    second, third = place.load("two"), place.load("three")
    for _ in range(20):
        await asyncio.sleep(0)
    assert list(place.model.loads) == ["one"]
    place.model.slow_to_stop.set()
    await place.loading("three")
    place.model.loads["three"].set_result("info")
    assert [await task for task in (first, second, third)] == [None, None, "info"]
    assert place.model.most_at_once == 1


async def test_a_cancelled_load_lets_the_chats_go_on(place: Place) -> None:
    task = place.load("one")
    await place.loading("one")
    assert await place.loader.cancel()
    assert await task is None
    assert (place.loader.name, place.journal) == (None, ["pause", "resume"])
    assert not await place.loader.cancel()


async def test_a_cancel_stops_the_load_that_waits_too(place: Place) -> None:
    place.model.slow_to_stop = asyncio.Event()
    first = place.load("one")
    await place.loading("one")
    second = place.load("two")
    await asyncio.sleep(0)
    cancelling = asyncio.create_task(place.loader.cancel())
    await asyncio.sleep(0)
    place.model.slow_to_stop.set()
    assert await cancelling
    assert [await task for task in (first, second)] == [None, None]
    assert list(place.model.loads) == ["one"]
    assert place.journal == ["pause", "resume"]


@pytest.mark.parametrize("error", [LoadCancelled("Stopped."), OSError("No.")])
async def test_the_chats_answer_again_after_a_load_that_failed(place: Place, error: Exception) -> None:
    task = place.load("one")
    await place.loading("one")
    place.model.loads["one"].set_exception(error)
    if isinstance(error, LoadCancelled):
        assert await task is None
    else:
        with pytest.raises(OSError, match="No"):
            await task
    assert place.journal == ["pause", "resume"]
