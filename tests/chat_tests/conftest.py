"""What the tests of the application share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_tests.chats.fake_source import counter

from memory import Memory


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Memory(tmp_path / "chat.db", counter=counter()) as memory:
        yield memory
