"""What the tests of long-term memory in the application share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chat_tests.chats.fake_source import counter

from memory import Memory


@pytest.fixture
def memory() -> Iterator[Memory]:
    """A store without a file, which is faster."""
    with Memory(":memory:", counter=counter()) as memory:
        yield memory
