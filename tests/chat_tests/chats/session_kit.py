"""A chat session over a real store and a text source that says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from chat_tests.chats.fake_source import FakeSource, FakeStream

from engine.types import TokenChunk
from memory import Memory, Message
from stevemin_chat.chats import ChatSession, SessionSettings

__all__ = ["full_disk", "open_chat", "read", "requests", "stored", "until"]

_FAST = 0.02


def open_chat(memory: Memory, *streams: FakeStream | Exception, **options: Any) -> ChatSession:
    interval = options.pop("flush_interval_s", _FAST)
    given: dict[str, Any] = {"context_tokens": 1000, "model": "fake"} | options
    settings = SessionSettings(**given)
    session = memory.create_session()
    return ChatSession(
        session.id, memory=memory, source=FakeSource(*streams), settings=settings, flush_interval_s=interval
    )


async def read(chunks: AsyncGenerator[TokenChunk, None]) -> str:
    async with aclosing(chunks):
        return "".join([chunk.text async for chunk in chunks])


async def until(condition: Callable[[], object]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it never came to that")


def stored(memory: Memory, chat: ChatSession) -> list[Message]:
    return memory.messages(chat.session_id)


def requests(chat: ChatSession) -> list[Any]:
    assert isinstance(chat.source, FakeSource)
    return chat.source.requests


@contextmanager
def full_disk(memory: Memory) -> Iterator[None]:
    """SQLite meets the real SQLITE_FULL: the file may not grow by one page."""
    database = memory._database
    pages = database.call(database.query, "PRAGMA page_count")[0][0]
    database.call(database.query, f"PRAGMA max_page_count={pages}")
    try:
        yield
    finally:
        database.call(database.query, "PRAGMA max_page_count=1073741823")
