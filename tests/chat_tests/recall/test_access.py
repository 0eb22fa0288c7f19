"""Opening the store for the application, and waiting for search by meaning."""

from __future__ import annotations

from typing import cast

import pytest

from memory import IndexState, IndexStatus, Memory
from stevemin_chat.base.config import MemorySection
from stevemin_chat.base.paths import Paths
from stevemin_chat.recall import access, open_store, wait_for_meaning


def test_the_store_is_made_and_the_settings_have_the_last_word_on_remembering() -> None:
    paths = Paths.resolve()
    with open_store(paths, MemorySection()) as memory:
        assert memory.path == paths.database
        memory.add_message(memory.create_session("x").id, "user", "I live in Porto.")
        assert len(memory.long_term.facts()) == 1
    with open_store(paths, MemorySection(enabled=False)) as memory:
        memory.long_term.switch(True)
        memory.add_message(memory.session("x").id, "user", "I work as a baker.")
        assert (memory.long_term.remembering, len(memory.long_term.facts())) == (False, 1)


class Scripted:
    """A memory that is indexing: each look at its status finds the next one."""

    def __init__(self, *statuses: IndexStatus) -> None:
        self._statuses = iter(statuses)
        self.loaded = False

    def load_embedder(self) -> None:
        self.loaded = True

    def start_indexing(self) -> None:
        pass

    def index_status(self) -> IndexStatus:
        return next(self._statuses)


def waited(*statuses: IndexStatus) -> tuple[str | None, list[str]]:
    """What waiting says in the end and meanwhile."""
    memory, shown = Scripted(*statuses), list[str]()
    said = wait_for_meaning(cast(Memory, memory), shown.append)
    assert memory.loaded
    return said, shown


def test_meaning_waits_until_nearly_all_has_a_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_POLL_S", 0)
    starting, ready = IndexStatus(IndexState.STARTING), IndexStatus(IndexState.READY, 2000, 2000)
    few, most = (IndexStatus(IndexState.INDEXING, done, 2000) for done in (64, 1900))
    said, shown = waited(starting, few, few, few, most)
    assert said == "100 passages have no vector yet; search finds them by words only."
    assert shown[-1] == "64 of 2,000 passages"
    assert waited(starting, few, ready)[0] is None
    assert waited(IndexStatus(IndexState.READY), IndexStatus(IndexState.READY))[0] is None, "nothing to embed"
    nearly = IndexStatus(IndexState.INDEXING, 9, 10)
    assert waited(starting, nearly, nearly)[0] == (
        "1 passage has no vector yet; search finds it by words only."
    )


def test_meaning_does_not_wait_for_an_index_that_cannot_be_had() -> None:
    said, _ = waited(IndexStatus(IndexState.UNAVAILABLE, reason="It is used by another stevemin."))
    assert said == "It is used by another stevemin."
