"""ChatSession: one message's way, and nothing lost whatever happens on it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_tests.fake_source import FakeSource, FakeStream, WordCounter

from engine.errors import GenerationFailed, PromptTooLong
from engine.types import ChatMessage, FinishReason, SamplingParams, TokenChunk
from memory import (
    BudgetTooSmall,
    CounterMissing,
    DiskFull,
    Memory,
    Message,
    MessageNotFound,
    StoreUnavailable,
)
from stevemin_chat.session import (
    ChatSession,
    EmptyMessage,
    NothingToAnswer,
    SessionBusy,
    SessionSettings,
    SessionState,
)

FAST = 0.02


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Memory(tmp_path / "chat.db", counter=WordCounter()) as memory:
        yield memory


def open_chat(memory: Memory, *streams: FakeStream | Exception, **options: Any) -> ChatSession:
    interval = options.pop("flush_interval_s", FAST)
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


async def test_a_message_and_its_reply(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream(["Hel", "lo", "."]), system_prompt="Be kind.")
    assert await read(chat.send("Hi there")) == "Hello."
    question, reply = stored(memory, chat)
    assert (question.id, question.role, question.content) == (chat.user_message_id, "user", "Hi there")
    assert (reply.id, reply.parent_id, reply.content) == (chat.reply_id, question.id, "Hello.")
    assert (reply.status, reply.finish_reason, reply.model, reply.error) == ("complete", "stop", "fake", None)
    assert reply.timings is not None
    assert reply.timings["completion_tokens"] == 3
    assert (chat.state, chat.text, chat.finish_reason) == (SessionState.IDLE, "Hello.", FinishReason.STOP)
    assert chat.last_timings is not None
    assert chat.last_timings.ttft_s == 0.5
    assert chat.last_context is not None
    assert chat.last_context.sent == (question.id,)
    assert [turn.content for turn in chat.last_prompt] == ["Be kind.", "Hi there"]
    [request] = requests(chat)
    assert request.messages == (ChatMessage("system", "Be kind."), ChatMessage("user", "Hi there"))
    assert request.session_id == chat.session_id
    assert memory.session(chat.session_id).title == "Hi there"


async def test_the_next_message_sees_the_one_before(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream(["one"]), FakeStream(["two"]))
    await read(chat.send("first"))
    await read(chat.send("second"))
    assert [message.content for message in requests(chat)[1].messages] == ["first", "one", "second"]
    assert chat.text == "two"


@pytest.mark.parametrize(
    ("options", "budget", "max_tokens"),
    [
        ({"context_tokens": 1000}, 750, 998),
        ({"context_tokens": 100_000}, 98_976, 99_998),
        ({"context_tokens": 1000, "sampling": SamplingParams(max_tokens=64)}, 936, 64),
        ({"context_tokens": 1000, "sampling": SamplingParams(max_tokens=5000)}, 500, 998),
        ({"context_tokens": 1000, "reply_tokens": 300}, 700, 998),
    ],
)
async def test_room_for_the_reply(memory: Memory, options: Any, budget: int, max_tokens: int) -> None:
    chat = open_chat(memory, FakeStream(["ok"]), **options)
    await read(chat.send("hello"))
    assert chat.last_context is not None
    assert chat.last_context.budget_tokens == budget
    assert chat.last_context.budget_tokens + chat.last_context.reply_tokens == options["context_tokens"]
    assert requests(chat)[0].sampling.max_tokens == max_tokens


@pytest.mark.parametrize(
    ("wanted", "reason", "told"),
    [
        (None, FinishReason.LENGTH, "context"),
        (None, FinishReason.CONTEXT, "context"),
        (8, FinishReason.LENGTH, "length"),
        (5000, FinishReason.LENGTH, "context"),
        (8, FinishReason.STOP, "stop"),
    ],
)
async def test_why_a_reply_ended(memory: Memory, wanted: int | None, reason: FinishReason, told: str) -> None:
    chat = open_chat(memory, FakeStream(["cut"], ending=reason), sampling=SamplingParams(max_tokens=wanted))
    await read(chat.send("hello"))
    assert chat.finish_reason == told
    assert stored(memory, chat)[-1].finish_reason == told
    assert stored(memory, chat)[-1].status == "complete"


async def test_the_message_is_stored_before_the_answer_is_asked_for(memory: Memory) -> None:
    chat = open_chat(memory)
    seen: list[list[tuple[str, str]]] = []

    class Source:
        def submit(self, request: Any) -> FakeStream:
            seen.append([(item.content, item.status) for item in stored(memory, chat)])
            return FakeStream(["ok"])

    chat.source = Source()
    await read(chat.send("hello"))
    assert seen == [[("hello", "complete"), ("", "streaming")]]


async def test_states(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream(["a", "b"]))
    assert chat.state is SessionState.IDLE
    chunks = chat.send("hello")
    reading = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    assert chat.state is SessionState.WAITING
    await reading
    assert chat.state is SessionState.GENERATING
    await chunks.aclose()
    assert chat.state is SessionState.IDLE


async def test_text_is_kept_while_it_streams(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream(["word "] * 30, pause_s=0.05), flush_interval_s=0.4)
    lag: list[float] = []
    arrived: list[float] = []
    async with aclosing(chat.send("hello")) as chunks:
        async for _ in chunks:
            arrived.append(time.monotonic())
            assert chat.reply_id is not None
            kept = memory.message(chat.reply_id).content.count("word")
            lag.append(arrived[-1] - arrived[kept] if kept < len(arrived) else 0.0)
    assert max(lag) < 0.8  # 0.5 is the aim; a busy machine may be late
    assert stored(memory, chat)[-1].content == "word " * 30


async def test_a_slow_disk_does_not_slow_the_stream(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    in_flight = 0
    most = writes = 0
    lock = threading.Lock()
    update = memory.update_reply

    def slow(message_id: str, content: str) -> None:
        nonlocal in_flight, most, writes
        with lock:
            in_flight += 1
            most, writes = max(most, in_flight), writes + 1
        time.sleep(0.4)
        update(message_id, content)
        with lock:
            in_flight -= 1

    monkeypatch.setattr(memory, "update_reply", slow)
    chat = open_chat(memory, FakeStream(["x"] * 40, pause_s=0.02))
    gaps, last = [], None
    async with aclosing(chat.send("hello")) as chunks:
        async for _ in chunks:
            now = time.monotonic()
            gaps.append(now - last if last is not None else 0.0)
            last = now
    assert max(gaps) < 0.3
    assert writes >= 2
    assert most == 1
    assert in_flight == 0
    assert stored(memory, chat)[-1].content == "x" * 40


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
    assert chat.state is SessionState.IDLE


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
    chat = open_chat(memory, FakeStream(["never"] * 3, pause_s=0.05))
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
    assert chat.state is SessionState.IDLE


async def test_impatient_cancelling_still_keeps_the_text(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = memory.finish_reply

    def slow(*args: Any, **kwargs: Any) -> None:
        time.sleep(0.2)
        finish(*args, **kwargs)

    monkeypatch.setattr(memory, "finish_reply", slow)
    chat = open_chat(memory, FakeStream(["half"], stuck=True), flush_interval_s=60)
    reading = asyncio.ensure_future(read(chat.send("hello")))
    await until(lambda: chat.text == "half")
    for _ in range(5):
        reading.cancel()
        await asyncio.sleep(0.02)
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (stored(memory, chat)[-1].content, stored(memory, chat)[-1].status) == ("half", "cancelled")


@pytest.mark.parametrize("step", ["add_message", "build_context", "begin_reply"])
async def test_cancelled_at_every_step_on_the_way(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    entered, work = threading.Event(), getattr(memory, step)

    def slow(*args: Any, **kwargs: Any) -> Any:
        entered.set()
        time.sleep(0.1)
        return work(*args, **kwargs)

    monkeypatch.setattr(memory, step, slow)
    chat = open_chat(memory, FakeStream(["never"]))
    reading = asyncio.ensure_future(read(chat.send("hello")))
    await until(lambda: entered.is_set())
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    messages = stored(memory, chat)
    assert messages[0].content == "hello"
    assert [item.status for item in messages[1:]] == (["cancelled"] if step == "begin_reply" else [])
    assert requests(chat) == []
    assert chat.state is SessionState.IDLE


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


async def test_a_failing_stream_keeps_the_text_and_raises(memory: Memory) -> None:
    chat = open_chat(
        memory, FakeStream(["half "], ending=GenerationFailed("It broke.")), FakeStream(["again"])
    )
    with pytest.raises(GenerationFailed, match="It broke"):
        await read(chat.send("hello"))
    reply = stored(memory, chat)[-1]
    assert (reply.content, reply.status, reply.error) == ("half ", "failed", "It broke.")
    assert (reply.finish_reason, reply.timings) == (None, None)
    assert chat.state is SessionState.IDLE
    assert await read(chat.send("and now?")) == "again"
    assert [message.content for message in requests(chat)[1].messages] == ["hello", "half ", "and now?"]


async def test_a_refused_request_is_a_failed_reply(memory: Memory) -> None:
    error = PromptTooLong(3000, 2048, prompt_tokens=2900)
    chat = open_chat(memory, error)
    with pytest.raises(PromptTooLong):
        await read(chat.send("hello"))
    assert (stored(memory, chat)[-1].status, stored(memory, chat)[-1].error) == ("failed", str(error))


async def test_a_message_that_does_not_fit_is_kept_without_a_reply(memory: Memory) -> None:
    chat = open_chat(memory, context_tokens=100)
    with pytest.raises(BudgetTooSmall):
        await read(chat.send("word " * 200))
    assert [item.role for item in stored(memory, chat)] == ["user"]
    assert chat.state is SessionState.IDLE


async def test_without_a_model_the_message_is_kept(memory: Memory) -> None:
    memory.counter = None
    chat = open_chat(memory, FakeStream(["now"]))
    with pytest.raises(CounterMissing):
        await read(chat.send("hello"))
    memory.counter = WordCounter()
    assert await read(chat.regenerate()) == "now"
    assert [item.content for item in stored(memory, chat)] == ["hello", "now"]


async def test_a_second_message_has_to_wait(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream(["one", "two"]), FakeStream(["later"]))
    chunks = chat.send("first")
    await anext(chunks)
    with pytest.raises(SessionBusy, match="still answering"):
        await read(chat.send("second"))
    with pytest.raises(SessionBusy):
        await read(chat.regenerate())
    assert [chunk.text async for chunk in chunks] == ["two"]
    assert [item.content for item in stored(memory, chat)] == ["first", "onetwo"]
    assert await read(chat.send("second")) == "later"


@pytest.mark.parametrize("text", ["", " \n\t"])
async def test_an_empty_message_is_refused(memory: Memory, text: str) -> None:
    chat = open_chat(memory)
    with pytest.raises(EmptyMessage):
        await read(chat.send(text))
    assert stored(memory, chat) == []


async def test_another_answer_is_a_sibling(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream(["one"]), FakeStream(["two"]))
    await read(chat.send("hello"))
    first = chat.reply_id
    assert await read(chat.regenerate()) == "two"
    assert requests(chat)[1].messages == requests(chat)[0].messages
    assert [item.content for item in stored(memory, chat)] == ["hello", "two"]
    assert chat.reply_id is not None
    assert [item.content for item in memory.siblings(chat.reply_id)] == ["one", "two"]
    assert first != chat.reply_id
    assert chat.user_message_id == stored(memory, chat)[0].id


async def test_another_answer_to_nothing(memory: Memory) -> None:
    chat = open_chat(memory)
    with pytest.raises(NothingToAnswer):
        await read(chat.regenerate())
    assert chat.state is SessionState.IDLE


async def test_what_the_model_wrote_is_stored_raw(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream(["\x1b[31mred", "\x07\r\n"]))
    await read(chat.send("hello"))
    assert stored(memory, chat)[-1].content == "\x1b[31mred\x07\r\n"


async def test_a_disk_that_is_full_for_a_while_is_not_even_noticed(memory: Memory) -> None:
    disk = full_disk(memory)

    def before(number: int) -> None:
        if number == 1:
            disk.__enter__()
        elif number == 19:
            disk.__exit__(None, None, None)

    chat = open_chat(memory, FakeStream(["long text " * 100] * 20, pause_s=0.01, before=before))
    assert len(await read(chat.send("hello"))) == 20_000
    assert stored(memory, chat)[-1].content == "long text " * 2000


async def test_a_full_disk_ends_the_reply_with_one_error_and_all_of_its_text(memory: Memory) -> None:
    disk = full_disk(memory)

    def fill(number: int) -> None:
        if number == 0:
            disk.__enter__()

    chat = open_chat(
        memory,
        FakeStream(["long text " * 100] * 20, pause_s=0.01, before=fill),
    )
    shown: list[str] = []

    async def show() -> None:
        async with aclosing(chat.send("hello")) as chunks:
            async for chunk in chunks:
                shown.append(chunk.text)

    with pytest.raises(DiskFull, match="Free some space"):
        await show()
    assert "".join(shown) == chat.text == "long text " * 2000
    assert chat.state is SessionState.IDLE
    assert chat.finish_reason is FinishReason.STOP
    disk.__exit__(None, None, None)
    assert [item.status for item in stored(memory, chat)] == ["complete", "streaming"]


async def test_a_full_disk_does_not_hide_why_the_reply_failed(memory: Memory) -> None:
    disk = full_disk(memory)
    chat = open_chat(
        memory,
        FakeStream(
            ["long text " * 2000],
            ending=GenerationFailed("It broke."),
            before=lambda number: disk.__enter__(),
        ),
    )
    with pytest.raises(GenerationFailed) as caught:
        await read(chat.send("hello"))
    assert "The disk is full" in caught.value.__notes__[0]
    disk.__exit__(None, None, None)


async def test_a_message_that_cannot_be_stored_is_not_sent(memory: Memory) -> None:
    chat = open_chat(memory, FakeStream(["never"]))
    with full_disk(memory), pytest.raises(DiskFull):
        await read(chat.send("long text " * 2000))
    assert requests(chat) == []
    assert stored(memory, chat) == []


async def test_a_store_that_closes_in_mid_answer(memory: Memory) -> None:
    chat = open_chat(
        memory,
        FakeStream(["a"] * 10, pause_s=0.01, before=lambda number: memory.close() if number == 3 else None),
    )
    with pytest.raises(StoreUnavailable, match="is closed"):
        await read(chat.send("hello"))
    assert chat.text == "a" * 10


async def test_a_chat_that_is_deleted_in_mid_answer(memory: Memory) -> None:
    chat = open_chat(
        memory,
        FakeStream(
            ["a"] * 10,
            pause_s=0.01,
            before=lambda number: memory.delete_session(chat.session_id) if number == 3 else None,
        ),
    )
    with pytest.raises(MessageNotFound, match="deleted"):
        await read(chat.send("hello"))
    assert memory.sessions() == []


async def test_several_sessions_at_once_keep_apart(memory: Memory) -> None:
    chats = [open_chat(memory, FakeStream([f"{name} "] * 30, pause_s=0.005)) for name in "abcd"]
    texts = await asyncio.gather(*(read(chat.send(f"question {i}")) for i, chat in enumerate(chats)))
    assert texts == [f"{name} " * 30 for name in "abcd"]
    for chat, text in zip(chats, texts, strict=True):
        assert stored(memory, chat)[-1].content == text


_KILLED = """
import asyncio, sys
from pathlib import Path
from chat_tests.fake_source import FakeSource, FakeStream, WordCounter
from memory import Memory
from stevemin_chat.session import ChatSession, SessionSettings

async def main():
    memory = Memory(Path(sys.argv[1]), counter=WordCounter())
    session = memory.create_session("killed")
    chat = ChatSession(
        session.id,
        memory=memory,
        source=FakeSource(FakeStream(["word "] * 1000, pause_s=0.02)),
        settings=SessionSettings(context_tokens=1000, model="fake"),
    )
    async for chunk in chat.send("Tell me a long story."):
        print("x", flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_kill_9_in_mid_answer_loses_no_more_than_the_last_moment(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])},
    )
    assert child.stdout is not None
    shown: list[float] = []
    while len(shown) < 75:
        assert child.stdout.readline() == b"x\n"
        shown.append(time.monotonic())
    os.kill(child.pid, signal.SIGKILL)
    killed = time.monotonic()
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    with Memory(path) as memory:
        session = memory.session("killed")
        question, reply = memory.messages(session.id)
        assert (question.content, question.status) == ("Tell me a long story.", "complete")
        assert reply.status == "streaming"
        kept = reply.content.count("word")
        assert reply.content == "word " * kept
        assert kept >= sum(moment < killed - 0.8 for moment in shown) > 0
        assert memory.recover_interrupted() == 1
        again = memory.messages(session.id)[-1]
        assert (again.status, again.content) == ("interrupted", reply.content)


def test_a_session_knows_no_screen_and_no_llama() -> None:
    code = (
        "import sys; import stevemin_chat.session; "
        "print(*sorted({'textual', 'llama_cpp', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == ""
