"""A store on a real file, with a counter of words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_tests.template import copy_template
from memory_tests.word_counter import WordCounter

from memory import Memory


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "stevemin.db"


@pytest.fixture
def memory(database_path: Path) -> Iterator[Memory]:
    with Memory(copy_template(database_path), counter=WordCounter()) as memory:
        yield memory
