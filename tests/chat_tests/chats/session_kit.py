"""A chat session over a real store and a text source that says what it is told to."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from chat_tests.chats.fake_source import FakeSource, FakeStream

from engine.types import TokenChunk
from memory import Memory, Message
from stevemin_chat.chats import ChatSession, SessionSettings

__all__ = ["open_chat", "read", "requests", "stored"]

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


def stored(memory: Memory, chat: ChatSession) -> list[Message]:
    return memory.messages(chat.session_id)


def requests(chat: ChatSession) -> list[Any]:
    assert isinstance(chat.source, FakeSource)
    return chat.source.requests
