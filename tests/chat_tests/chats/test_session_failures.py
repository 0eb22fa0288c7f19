"""ChatSession: nothing is lost when the model, the disk or the process fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest
from chat_tests.chats.fake_source import FakeStream, counter
from chat_tests.chats.session_kit import open_chat, read, requests, stored
from full_disk import full_disk

from engine.errors import GenerationFailed, PromptTooLong
from engine.types import FinishReason
from memory import (
    BudgetTooSmall,
    CounterMissing,
    DiskFull,
    Memory,
    MessageNotFound,
    StoreError,
    StoreUnavailable,
)


async def test_a_failing_stream_keeps_the_text_and_raises(memory: Memory) -> None:
    chat = open_chat(
        memory, FakeStream(["half "], ending=GenerationFailed("It broke.")), FakeStream(["again"])
    )
    with pytest.raises(GenerationFailed, match="It broke"):
        await read(chat.send("hello"))
    reply = stored(memory, chat)[-1]
    assert (reply.content, reply.status, reply.error) == ("half ", "failed", "It broke.")
    assert (reply.finish_reason, reply.timings) == (None, None)
    assert not chat.busy
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
    assert not chat.busy


async def test_without_a_model_the_message_is_kept(memory: Memory) -> None:
    memory.counter = None
    chat = open_chat(memory, FakeStream(["now"]))
    with pytest.raises(CounterMissing):
        await read(chat.send("hello"))
    memory.counter = counter()
    assert await read(chat.regenerate()) == "now"
    assert [item.content for item in stored(memory, chat)] == ["hello", "now"]


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
    assert not chat.busy
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


async def test_an_end_that_cannot_be_stored_is_logged_without_the_errors_words(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log itself leaves out the messages of exceptions that it gets as such."""

    def refuse(*_: object, **__: object) -> None:
        raise StoreError("quotes a chat")

    monkeypatch.setattr(memory, "finish_reply", refuse)
    chat = open_chat(memory, FakeStream(["half"], ending=GenerationFailed("It broke.")))
    with pytest.raises(GenerationFailed):
        await read(chat.send("hello"))
    (record,) = [record for record in caplog.records if "could not be stored" in record.getMessage()]
    assert "quotes a chat" not in record.getMessage()
    assert record.exc_info is not None


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


_KILLED = """
import asyncio, sys
from pathlib import Path
from chat_tests.chats.fake_source import FakeSource, FakeStream, counter
from memory import Memory
from stevemin_chat.chats import ChatSession, SessionSettings

async def main():
    memory = Memory(Path(sys.argv[1]), counter=counter())
    session = memory.create_session("killed")
    chat = ChatSession(
        session.id,
        memory=memory,
        source=FakeSource(FakeStream(["word "] * 1000, pause_s=0.02)),
        settings=SessionSettings(context_tokens=1000, model="fake"),
        flush_interval_s=0.05,
    )
    update = memory.update_reply

    def note(message_id, content):
        update(message_id, content)
        print(content.count("word"), flush=True)

    memory.update_reply = note
    async for chunk in chat.send("Tell me a long story."):
        pass

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_kill_9_in_mid_answer_loses_no_more_than_since_the_last_write(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    root = Path(__file__).parents[3]
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])},
    )
    assert child.stdout is not None
    written = [int(child.stdout.readline()) for _ in range(3)]
    os.kill(child.pid, signal.SIGKILL)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    with Memory(path) as memory:
        session = memory.session("killed")
        question, reply = memory.messages(session.id)
        assert (question.content, question.status) == ("Tell me a long story.", "complete")
        assert reply.status == "streaming"
        kept = reply.content.count("word")
        assert reply.content == "word " * kept
        assert kept >= written[-1] > written[0] > 0
        assert memory.recover_interrupted() == 1
        again = memory.messages(session.id)[-1]
        assert (again.status, again.content) == ("interrupted", reply.content)
