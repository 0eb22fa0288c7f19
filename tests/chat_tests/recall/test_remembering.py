"""Forgetting in the running application over a real store: screen, drafts and engine forget, too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from chat_tests.chats.chats_kit import Backend, Listener, idle, open_chats
from chat_tests.chats.fake_source import FakeStream
from chat_tests.recall.memory_kit import DOG, SMALL, TEA, remember
from waiting import until

from memory import IndexState, IndexStatus, Memory, MessageNotFound
from stevemin_chat.base.config import MemorySection
from stevemin_chat.chats import Chat
from stevemin_chat.recall import Remembering, StillAnswering


class Noting(Listener):
    """Notes the chats whose entries or draft changed."""

    def __init__(self) -> None:
        super().__init__()
        self.redrawn: list[Chat] = []
        self.undrafted: list[Chat] = []

    def entries_changed(self, chat: Chat) -> None:
        self.redrawn.append(chat)

    def draft_forgotten(self, chat: Chat) -> None:
        self.undrafted.append(chat)


class Place:
    """Two stored chats that nobody has opened, and what forgetting tells the engine and the summaries."""

    def __init__(self, memory: Memory, folder: Path, *, enabled: bool = True) -> None:
        self.memory = memory
        self.ids = remember(memory)
        self.backend = Backend(memory)
        self.listener = Noting()
        self.chats = open_chats(self.backend, folder, self.listener)
        self.dropped: list[str] = []
        self.summaries_checked = 0
        self.remembering = Remembering(
            memory,
            self.chats,
            settings=MemorySection(enabled=enabled),
            drop_cache=self.dropped.append,
            on_forgotten=self._check_summaries,
        )

    def _check_summaries(self) -> None:
        self.summaries_checked += 1

    def chat(self, title: str) -> Chat:
        return next(chat for chat in self.chats.all if chat.title == title)


@pytest.fixture
async def place(memory: Memory, tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(memory, tmp_path)
    await place.chats.load()
    yield place
    await place.chats.close()


def shown(chat: Chat) -> list[str]:
    return ["(forgotten)" if entry.forgotten else entry.text for entry in chat.entries or []]


async def test_only_an_open_chat_is_emptied_and_only_where_it_was_forgotten(place: Place) -> None:
    pets, dinner = place.chat("Pets at home"), place.chat("Dinner")
    await place.chats.open(dinner)
    place.listener.redrawn.clear()
    gone = await place.remembering.forget([place.ids["dog"], place.ids["mint"]])
    assert set(gone.messages) == {place.ids[name] for name in ("dog", "calm", "mint")}
    assert shown(dinner) == [TEA, "(forgotten)"]
    assert place.listener.redrawn == [dinner], "the other is read from the store when it is opened"
    await place.chats.open(pets)
    assert shown(pets) == ["(forgotten)", "(forgotten)"]
    assert {pets.key, dinner.key} == set(place.dropped)
    assert place.summaries_checked == 1


async def test_a_chat_that_quotes_a_forgotten_message_loses_its_report_and_its_cache(place: Place) -> None:
    other = place.memory.create_session("Other")
    place.memory.add_message(other.id, "user", "Do you remember what my dog Rex is afraid of?")
    report = place.memory.build_context(other.id, budget=SMALL, strategy="retrieval").report
    assert place.ids["dog"] in {recall.message_id for recall in report.recalls}
    quoting = await place.chats.of_session(other.id)
    quoting.last_context = report
    await place.remembering.forget([place.ids["mint"]])
    assert quoting.last_context is report
    assert other.id not in place.dropped
    await place.remembering.forget([place.ids["dog"]])
    assert quoting.last_context is None
    assert other.id in place.dropped


async def test_a_draft_of_the_last_run_that_is_forgotten_goes_and_others_stay(place: Place) -> None:
    """In the last run the arrow key recalled it; in this one nobody has opened the chat."""
    pets, dinner = place.chat("Pets at home"), place.chat("Dinner")
    pets.draft, dinner.draft = DOG, f"{DOG} And a cat."
    await place.remembering.forget([place.ids["dog"]])
    assert (pets.draft, dinner.draft) == ("", f"{DOG} And a cat.")
    assert place.listener.undrafted == [pets]


async def test_a_chat_named_by_a_forgotten_message_gets_another_title(place: Place) -> None:
    record = place.memory.create_session()
    first = place.memory.add_message(record.id, "user", "Where is Zanzibar?")
    place.memory.add_message(record.id, "user", "And what is\x07 on tonight?")
    chat = await place.chats.of_session(record.id)
    assert chat.title == "Where is Zanzibar?"
    await place.remembering.forget([first.id])
    assert chat.title == "And what is on tonight?"
    assert chat.record is not None
    assert "Zanzibar" not in str(chat.record)


async def test_nothing_is_forgotten_in_a_chat_that_is_answering_but_in_others(place: Place) -> None:
    place.backend.model._streams.append(FakeStream(["half"], stuck=True))
    pets = place.chat("Pets at home")
    place.chats.answers.enqueue(pets, "And when it rains?")
    await until(lambda: pets.entries and pets.entries[-1].text == "half")
    with pytest.raises(StillAnswering, match=r"“Pets at home” is still answering\. Stop it or wait"):
        await place.remembering.forget([place.ids["mint"], place.ids["dog"]])
    assert not place.memory.message(place.ids["mint"]).forgotten, "all or nothing"
    assert (place.dropped, place.summaries_checked) == ([], 0)
    await place.remembering.forget([place.ids["mint"]])
    assert place.memory.message(place.ids["mint"]).forgotten
    place.chats.answers.stop(pets)
    await idle(pets)
    await place.remembering.forget([place.ids["dog"]])
    assert shown(pets) == ["(forgotten)", "(forgotten)", "And when it rains?", "half"]


async def test_a_wrong_id_changes_nothing(place: Place) -> None:
    with pytest.raises(MessageNotFound):
        await place.remembering.forget([place.ids["dog"], "0" * 32])
    assert place.memory.message(place.ids["dog"]).content == DOG
    assert (place.dropped, place.summaries_checked) == ([], 0)


async def test_what_is_forgotten_already_can_be_forgotten_again(place: Place) -> None:
    await place.remembering.forget([place.ids["dog"]])
    again = await place.remembering.forget([place.ids["dog"]])
    assert (again.messages, again.facts, again.passages) == ((), 0, 0)


async def test_remembering_is_switched_unless_the_settings_keep_it_off(place: Place, tmp_path: Path) -> None:
    remembering = place.remembering
    await remembering.switch(False)
    assert (remembering.on, remembering.off_by_settings) == (False, False)
    assert remembering.hint(summarising=True) == "not remembering"
    place.memory.long_term.switch(True)  # as another process does
    assert await remembering.look()
    with Memory(tmp_path / "off.db", remembering=False) as memory:
        kept_off = Place(memory, tmp_path, enabled=False).remembering
        await kept_off.switch(True)
        assert (kept_off.on, kept_off.off_by_settings) == (False, True)


async def test_the_hint_names_what_takes_longest_and_news_are_told_once(place: Place) -> None:
    status = IndexStatus(IndexState.INDEXING, 120, 1000)
    place.memory.index_status = lambda: status  # type: ignore[method-assign]
    assert place.remembering.hint(summarising=True) == "indexing 12%"
    assert place.remembering.news() is None
    status = IndexStatus(IndexState.UNAVAILABLE)
    assert place.remembering.news() is None, "without a reason there is nothing to tell"
    status = IndexStatus(IndexState.UNAVAILABLE, reason="Chroma\x1b[31m\nis gone.")
    assert [place.remembering.news(), place.remembering.news()] == ["Chroma is gone.", None]
    assert [place.remembering.hint(summarising=each) for each in (True, False)] == ["summarising", ""]
