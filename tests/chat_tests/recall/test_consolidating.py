"""When summaries are made: in whose order, and what keeps them waiting."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from waiting import until

from engine import EngineStats
from memory import Budget, SessionNotFound, SessionRecord
from stevemin_chat.base.errors import NoModelLoaded
from stevemin_chat.chats import SessionSettings
from stevemin_chat.recall import Consolidating


class FakeMemory:
    """Has n summaries to make for each session; records the requests."""

    def __init__(self) -> None:
        self.todo: Counter[str] = Counter()
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.stuck = False
        self.readings = 0
        self.read: list[str] = []
        self.error: Exception | None = None
        self.at_work: Callable[[], None] = lambda: None

    def consolidate(
        self, session_id: str, *, strategy: str, budget: Budget, cancelled: Callable[[], bool]
    ) -> object | None:
        self.asked.append(session_id)
        self.at_work()
        while self.stuck:
            if cancelled():
                self.cancelled.append(session_id)
                return None
            threading.Event().wait(0.001)
        if self.error is not None:
            raise self.error
        if not self.todo[session_id]:
            return None
        self.todo[session_id] -= 1
        return object()

    def read_facts(self, *, cancelled: Callable[[], bool]) -> int | None:
        self.read.append("after " + "".join(self.asked))
        while self.stuck:
            if cancelled():
                self.cancelled.append("facts")
                return None
            threading.Event().wait(0.001)
        if not self.readings:
            return None
        self.readings -= 1
        return 3


class IdleEngine:
    """Has nothing to do unless the test says so; counts how often it is asked."""

    def __init__(self) -> None:
        self.active = 0
        self.looks = 0

    def stats(self) -> EngineStats:
        self.looks += 1
        return EngineStats(active=self.active)


class FakeChats:
    def __init__(self, names: tuple[str, ...]) -> None:
        self.all: list[Any] = [SimpleNamespace(record=_record(name)) for name in names]
        self.visible = self.all[0]
        self.is_busy = False
        self.looks = 0

    @property
    def busy(self) -> list[object]:
        self.looks += 1
        return [object()] if self.is_busy else []


class Backend:
    """A runtime without a model file; counts how often its engine is looked at."""

    def __init__(self, memory: FakeMemory) -> None:
        self.memory = memory
        self.looks = 0
        self._engine: IdleEngine | None = IdleEngine()

    @property
    def engine(self) -> Any:
        self.looks += 1
        return self._engine

    @engine.setter
    def engine(self, engine: IdleEngine | None) -> None:
        self._engine = engine

    def session_settings(self, record: SessionRecord) -> SessionSettings:
        if self._engine is None:
            raise NoModelLoaded
        return SessionSettings(context_tokens=1000, model="fake", strategy=record.strategy or "hierarchical")


class Place:
    """Chats over a memory and an engine that do what the test says."""

    def __init__(self, *names: str, summaries: bool = True, facts: bool = False) -> None:
        self.memory = FakeMemory()
        self.runtime = Backend(self.memory)
        self.chats = FakeChats(names)
        self.consolidating = Consolidating(
            cast(Any, self.runtime), cast(Any, self.chats), summaries=summaries, facts=facts
        )
        self.consolidating.pause_s = 0.001

    def set(self, place: int, **changes: Any) -> None:
        chat = self.chats.all[place]
        chat.record = dataclasses.replace(chat.record, **changes)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = Place("a", "b", "c")
    yield place
    place.memory.stuck = False
    await place.consolidating.stop()


@pytest.fixture
async def control() -> AsyncIterator[Place]:
    """Another place on the same event loop: what happens here while `place` rests could happen there, too."""
    control = Place(*"abcdefgh")
    yield control
    await control.consolidating.stop()


def _record(name: str) -> SessionRecord:
    return SessionRecord(id=name, title=name, created_at="", updated_at="", head_id="1")


async def test_the_chat_on_the_screen_comes_first_and_each_is_done_to_its_end(place: Place) -> None:
    place.chats.visible = place.chats.all[1]
    place.memory.todo.update(a=1, b=2)
    place.consolidating.start()
    await until(lambda: "c" in place.memory.asked)
    assert place.memory.asked == ["b", "b", "b", "a", "a", "c"]


async def test_strategies_without_summaries_and_blank_chats_are_passed_over(place: Place) -> None:
    place.set(0, strategy="sliding")
    place.chats.all.insert(0, SimpleNamespace(record=None))
    place.consolidating.start()
    await until(lambda: "c" in place.memory.asked)
    assert place.memory.asked == ["b", "c"]


async def test_a_session_is_asked_again_only_when_it_has_changed(place: Place) -> None:
    place.consolidating.start()
    await until(lambda: "c" in place.memory.asked)
    place.set(2, head_id="2")
    place.consolidating.disturb()
    await until(lambda: place.memory.asked.count("c") == 2)
    place.set(1, strategy="summary")
    place.consolidating.disturb()
    await until(lambda: place.memory.asked.count("b") == 2)
    assert place.memory.asked == ["a", "b", "c", "c", "b"]


async def test_all_are_asked_again_when_summaries_were_removed(place: Place) -> None:
    place.consolidating.start()
    await until(lambda: "c" in place.memory.asked)
    place.consolidating.look_again()
    await until(lambda: len(place.memory.asked) == 6)
    assert place.memory.asked == ["a", "b", "c"] * 2


async def test_a_summary_is_given_up_at_once_and_made_later(place: Place) -> None:
    place.memory.stuck = True
    place.consolidating.start()
    await until(lambda: place.consolidating.summarising == "a" and place.memory.asked)
    place.consolidating.disturb()
    await until(lambda: place.memory.cancelled == ["a"])
    place.memory.stuck = False
    await until(lambda: "c" in place.memory.asked)
    assert place.memory.asked[0] == "a"
    assert place.memory.asked[-3:] == ["a", "b", "c"]
    await until(lambda: place.consolidating.summarising is None)


async def test_answers_come_first(place: Place) -> None:
    engine = place.runtime.engine
    engine.active = 1
    place.consolidating.start()
    await until(lambda: engine.looks > 2)
    place.chats.is_busy = True  # the answer has come, and is being stored
    engine.active, looks = 0, place.chats.looks
    await until(lambda: place.chats.looks > looks + 2)
    assert place.memory.asked == []
    place.chats.is_busy = False
    await until(lambda: "c" in place.memory.asked)


async def test_nothing_happens_until_a_model_is_loaded(place: Place) -> None:
    place.runtime.engine = None
    place.consolidating.start()
    await until(lambda: place.runtime.looks > 20)
    assert place.memory.asked == []
    place.runtime.engine = IdleEngine()
    await until(lambda: "c" in place.memory.asked)


async def test_what_a_change_of_model_ended_is_tried_again(place: Place) -> None:
    def change() -> None:
        place.memory.at_work = lambda: None
        place.runtime.engine = IdleEngine()

    place.memory.at_work = change
    place.consolidating.start()
    await until(lambda: "c" in place.memory.asked)
    assert place.memory.asked == ["a", "a", "b", "c"]


async def test_a_chat_that_is_deleted_meanwhile_is_no_error(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.memory.error = SessionNotFound("a")
    place.consolidating.start()
    await until(lambda: "c" in place.memory.asked)
    assert caplog.text == ""


async def test_an_error_is_logged_without_its_words_and_met_only_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.memory.error = ValueError("I have the flu")
    place.consolidating.after_error_s = 0.001
    place.consolidating.start()
    await until(lambda: "c" in place.memory.asked)
    place.memory.error = None
    place.set(0, head_id="2")
    place.consolidating.disturb()
    await until(lambda: place.memory.asked.count("a") == 2)
    assert place.memory.asked == ["a", "b", "c", "a"]
    assert "ValueError" in caplog.text
    assert "flu" not in caplog.text


async def test_after_an_error_it_rests(
    place: Place, control: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.memory.error = control.memory.error = ValueError()
    control.consolidating.after_error_s = 0.001
    place.consolidating.start()
    await until(lambda: "ValueError" in caplog.text)
    looks = place.runtime.looks
    control.consolidating.start()
    await until(lambda: len(control.memory.asked) == 8)
    assert (place.memory.asked, place.runtime.looks) == (["a"], looks)


async def test_with_nothing_left_to_do_it_rests(place: Place, control: Place) -> None:
    place.consolidating.start()
    await until(lambda: "c" in place.memory.asked)
    await until(lambda: place.consolidating.summarising is None)
    looks = place.runtime.looks
    control.runtime.engine.active = 1
    control.consolidating.start()
    await until(lambda: control.runtime.looks > 20)
    assert place.runtime.looks == looks


async def test_leaving_waits_for_no_summary(place: Place) -> None:
    place.memory.stuck = True
    place.consolidating.start()
    await until(lambda: place.memory.asked)
    await place.consolidating.stop()
    assert place.consolidating.summarising is None
    await until(lambda: place.memory.cancelled == ["a"])
    await place.consolidating.stop()


async def test_facts_are_looked_for_when_no_summary_is_due() -> None:
    place = Place("a", facts=True)
    place.memory.todo.update(a=1)
    place.memory.readings = 2
    place.consolidating.start()
    await until(lambda: len(place.memory.read) == 3)
    assert place.memory.asked == ["a", "a"]
    assert place.memory.read == ["after aa"] * 3
    place.consolidating.disturb()
    await until(lambda: len(place.memory.read) == 4)
    await place.consolidating.stop()


async def test_a_reading_is_given_up_at_once_and_done_later() -> None:
    place = Place("a", summaries=False, facts=True)
    place.memory.stuck = True
    place.consolidating.start()
    await until(lambda: place.consolidating.reading and place.memory.read)
    place.consolidating.disturb()
    await until(lambda: place.memory.cancelled == ["facts"])
    place.memory.stuck, place.memory.readings = False, 1
    await until(lambda: place.memory.readings == 0)
    assert place.memory.asked == []
    await place.consolidating.stop()
    assert not place.consolidating.reading


async def test_where_the_settings_say_so_no_facts_are_looked_for(place: Place) -> None:
    place.consolidating.start()
    await until(lambda: "c" in place.memory.asked)
    assert place.memory.read == []
