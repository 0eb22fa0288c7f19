"""ChatSession: stopping an answer at any moment keeps its text so far."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from chat_tests.chats.chats_kit import blocked
from chat_tests.chats.fake_source import FakeStream
from chat_tests.chats.session_kit import open_chat, read, requests, stored
from waiting import until

from engine.types import FinishReason
from memory import Memory


async def test_escape_keeps_the_text(memory: Memory) -> None:
    stream = FakeStream(["half ", "an answer"], stuck=True)
    chat = open_chat(memory, stream)
    async with aclosing(chat.send("hello")) as chunks:
        async for chunk in chunks:
            if chunk.text == "an answer":
                chat.cancel()
    reply = stored(memory, chat)[-1]
    assert (reply.content, reply.status, reply.finish_reason) == ("half an answer", "cancelled", "cancelled")
    assert reply.timings is not None
    assert chat.finish_reason is FinishReason.CANCELLED
    assert not chat.busy


async def test_escape_before_the_first_token(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream([], stuck=True))
    reading = asyncio.ensure_future(read(chat.send("hello")))
    await until(lambda: requests(chat))
    chat.cancel()
    assert await reading == ""
    assert stored(memory, chat)[-1].status == "cancelled"


async def test_escape_before_the_request(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream(["never"]))
    reading = asyncio.ensure_future(read(chat.send("hello")))
    await asyncio.sleep(0)
    chat.cancel()
    assert await reading == ""
    assert [item.content for item in stored(memory, chat)] == ["hello"]
    assert chat.finish_reason is FinishReason.CANCELLED
    assert requests(chat) == []


async def test_escape_while_the_reply_is_begun(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = open_chat(memory, FakeStream(["never"] * 3, pause_s=0.01))
    begin = memory.begin_reply

    def begin_and_press_escape(*args: Any, **kwargs: Any) -> Any:
        chat.cancel()
        return begin(*args, **kwargs)

    monkeypatch.setattr(memory, "begin_reply", begin_and_press_escape)
    assert await read(chat.send("hello")) == ""
    assert (stored(memory, chat)[-1].content, stored(memory, chat)[-1].status) == ("", "cancelled")


async def test_escape_while_idle_does_not_stop_the_next_answer(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream(["fine"]))
    chat.cancel()
    assert await read(chat.send("hello")) == "fine"


async def test_a_cancelled_task_stops_the_stream_and_keeps_the_text(memory: Memory) -> None:
    stream = FakeStream(["half "] * 3, stuck=True)
    chat = open_chat(memory, stream)
    reading = asyncio.ensure_future(read(chat.send("hello")))
    await until(lambda: chat.text == "half " * 3)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert stream.cancelled.is_set()
    reply = stored(memory, chat)[-1]
    assert (reply.content, reply.status, reply.finish_reason) == ("half " * 3, "cancelled", "cancelled")
    assert not chat.busy


async def test_impatient_cancelling_still_keeps_the_text(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = open_chat(memory, FakeStream(["half"], stuck=True), flush_interval_s=60)
    with blocked(monkeypatch, memory, "finish_reply") as gate:
        reading = asyncio.ensure_future(read(chat.send("hello")))
        await until(lambda: chat.text == "half")
        reading.cancel()
        await until(gate.entered.is_set)
        for _ in range(5):
            reading.cancel()
            await asyncio.sleep(0)
        assert not reading.done()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert (stored(memory, chat)[-1].content, stored(memory, chat)[-1].status) == ("half", "cancelled")


@pytest.mark.parametrize("step", ["add_message", "build_context", "begin_reply"])
async def test_cancelled_at_every_step_on_the_way(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    chat = open_chat(memory, FakeStream(["never"]))
    with blocked(monkeypatch, memory, step) as gate:
        reading = asyncio.ensure_future(read(chat.send("hello")))
        await until(gate.entered.is_set)
        reading.cancel()
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await reading
    messages = stored(memory, chat)
    assert messages[0].content == "hello"
    assert [item.status for item in messages[1:]] == (["cancelled"] if step == "begin_reply" else [])
    assert requests(chat) == []
    assert not chat.busy


async def test_a_closed_generator_stops_the_stream_and_keeps_the_text(memory: Memory) -> None:
    stream = FakeStream(["one ", "two ", "three"], stuck=True)
    chat = open_chat(memory, stream)
    chunks = chat.send("hello")
    await anext(chunks)
    await anext(chunks)
    await chunks.aclose()
    assert stream.cancelled.is_set()
    reply = stored(memory, chat)[-1]
    assert (reply.content, reply.status) == ("one two ", "cancelled")
