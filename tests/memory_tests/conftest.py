"""Stores on a real file: the façade with a counter of words, and the bare storage classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_tests.storage.store_kit import Store, open_store
from memory_tests.template import copy_template
from word_counter import WordCounter

from memory import Memory


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "stevemin.db"


@pytest.fixture
def memory(database_path: Path) -> Iterator[Memory]:
    with Memory(copy_template(database_path), counter=WordCounter()) as memory:
        yield memory


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store.db") as store:
        yield store
