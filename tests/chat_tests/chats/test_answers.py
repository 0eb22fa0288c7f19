"""Sending and answering: what becomes of a message that is interrupted, and of the queue behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from chat_tests.chats.chats_kit import Backend, Listener, blocked, idle, open_chats, said
from chat_tests.chats.fake_source import FakeStream
from waiting import until

from engine.errors import GenerationFailed
from engine.types import FinishReason
from memory import DiskFull, Memory, StoreUnavailable
from stevemin_chat.chats import ChatState, Drafts, answering
from stevemin_chat.chats.drafts import KeptDraft


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_STOP_S", 0.02)
    monkeypatch.setattr(answering, "_CANCEL_S", 60)


def kept(folder: Path) -> list[tuple[str, ...]]:
    """The queues that the next run will find."""
    return [item.queue for item in Drafts(folder / "drafts.json").read()]


async def test_messages_are_answered_one_after_another(memory: Memory, tmp_path: Path) -> None:
    backend = Backend(memory, FakeStream(["one"]), FakeStream(["two"]))
    chats = open_chats(backend, tmp_path)
    await chats.load()
    chat = chats.new()
    states = [chat.state]
    chats.answers.enqueue(chat, "first")
    chats.answers.enqueue(chat, "second")
    assert (chat.queue, chat.state) == (["first", "second"], ChatState.WAITING)
    while chat.busy:
        if chat.state is not states[-1]:
            states.append(chat.state)
        await asyncio.sleep(0)
    assert states[:3] == [ChatState.IDLE, ChatState.WAITING, ChatState.GENERATING]
    assert said(memory, chat) == ["first", "one", "second", "two"]
    assert chat.title == "first"
    assert [entry.text for entry in chat.entries or []] == ["first", "one", "second", "two"]


async def test_a_chat_that_is_written_in_moves_to_the_front(memory: Memory, tmp_path: Path) -> None:
    chats = open_chats(Backend(memory, FakeStream(["ok"])), tmp_path)
    old = memory.create_session("old")
    memory.create_session("new")
    await chats.load()
    chat = await chats.of_session(old.id)
    assert chats.all[-1] is chat
    chats.answers.enqueue(chat, "hello")
    assert chats.all[0] is chat
    await idle(chat)


@pytest.mark.parametrize("step", ["create_session", "add_message"])
async def test_a_message_that_a_busy_database_refuses_while_one_quits_is_there_in_the_next_run(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    backend = Backend(memory)
    chats = open_chats(backend, tmp_path)
    await chats.load()
    chat = chats.new()
    with blocked(monkeypatch, memory, step) as gate:
        chats.answers.enqueue(chat, "precious")
        chats.answers.enqueue(chat, "and more")
        await until(gate.entered.is_set)
        leaving = asyncio.create_task(chats.close())
        await until(lambda: chat.task is not None and chat.task.cancelling())
        gate.open(StoreUnavailable("The database is locked."))
        await leaving
    await idle(chat)
    assert chat.queue == ["precious", "and more"]
    assert kept(tmp_path) == [("precious", "and more")]
    assert not chat.entries, "nothing was said"
    assert backend.model.requests == []


async def test_a_store_that_hangs_keeps_nobody_from_leaving_and_loses_nothing(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "_CANCEL_S", 0.02)
    chats = open_chats(Backend(memory), tmp_path)
    await chats.load()
    chat = chats.new()
    with blocked(monkeypatch, memory, "create_session") as gate:
        chats.answers.enqueue(chat, "precious")
        await until(gate.entered.is_set)
        await chats.close()
        assert chat.busy, "the thread cannot be stopped"
        assert kept(tmp_path) == [("precious",)]
    await idle(chat)


async def test_a_message_that_was_stored_while_one_quits_is_not_kept_twice(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = open_chats(Backend(memory), tmp_path)
    await chats.load()
    chat = chats.new()
    with blocked(monkeypatch, memory, "add_message") as gate:
        chats.answers.enqueue(chat, "precious")
        await until(gate.entered.is_set)
        leaving = asyncio.create_task(chats.close())
        await until(lambda: chat.task is not None and chat.task.cancelling())
        gate.open()
        await leaving
    assert said(memory, chat) == ["precious"]
    assert kept(tmp_path) == []


@pytest.mark.parametrize("late", [False, True])
async def test_a_message_that_a_change_of_model_interrupts_goes_to_the_new_model(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    backend = Backend(memory, FakeStream(["hello"]))
    chats = open_chats(backend, tmp_path)
    await chats.load()
    chat = chats.new()
    with blocked(monkeypatch, memory, "create_session") as gate:
        chats.answers.enqueue(chat, "hi")
        await until(gate.entered.is_set)
        pausing = asyncio.create_task(chats.pause())
        await until(lambda: chat.task is not None and (not late or chat.task.cancelling()))
        gate.open()
        await pausing
    await idle(chat)
    assert (chat.queue, chat.state) == (["hi"], ChatState.HELD)
    backend.has_model = False
    chats.resume()
    assert chat.queue == ["hi"], "the change has failed: it waits on"
    backend.has_model = True
    chats.resume()
    await idle(chat)
    assert said(memory, chat) == ["hi", "hello"]
    assert len(memory.sessions()) == 1, "the chat was made once"


async def test_text_that_cannot_be_stored_goes_back_to_the_prompt(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    chats = open_chats(Backend(memory), tmp_path, listener)
    await chats.load()
    chat = chats.new()

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise DiskFull(tmp_path)

    monkeypatch.setattr(memory, "add_message", refuse)
    chats.answers.enqueue(chat, "precious")
    chats.answers.enqueue(chat, "next")
    await idle(chat)
    assert listener.returned == ["precious"]
    assert [type(error) for error in listener.errors] == [DiskFull]
    assert (chat.queue, chat.entries, chat.state) == (["next"], [], ChatState.HELD)


async def test_stopping_while_the_chat_is_created_reads_no_prompt(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Backend(memory, FakeStream(["ok"]))
    chats = open_chats(backend, tmp_path)
    await chats.load()
    chat = chats.new()
    prompts: list[object] = []
    build = memory.build_context

    def note(*args: Any, **kwargs: Any) -> Any:
        prompts.append(args)
        return build(*args, **kwargs)

    monkeypatch.setattr(memory, "build_context", note)
    with blocked(monkeypatch, memory, "create_session") as gate:
        chats.answers.enqueue(chat, "hello")
        await until(gate.entered.is_set)
        assert chats.answers.stop(chat)
        gate.open()
        await idle(chat)
    assert (prompts, backend.model.requests) == ([], []), "the model reads nothing"
    assert said(memory, chat) == ["hello"]
    assert chat.entries is not None
    assert [entry.status for entry in chat.entries] == ["complete", "cancelled"]
    assert chats.answers.regenerate(chat)
    await idle(chat)
    assert said(memory, chat) == ["hello", "ok"]


async def test_stopping_a_second_answer_before_it_begins_leaves_the_first(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Backend(memory)
    record = memory.create_session("chat")
    memory.add_message(record.id, "user", "hello")
    memory.add_message(record.id, "assistant", "one")
    chats = open_chats(backend, tmp_path)
    await chats.load()
    chat = chats.all[0]
    await chats.open(chat)
    chat.settings = {"strategy": "full"}
    with blocked(monkeypatch, memory, "set_session") as gate:
        assert chats.answers.regenerate(chat)
        await until(gate.entered.is_set)
        chats.answers.stop(chat)
        gate.open()
        await idle(chat)
    assert [entry.text for entry in chat.entries or []] == ["hello", "one"]
    assert backend.model.requests == []


async def test_a_stopped_answer_is_followed_by_what_is_queued(memory: Memory, tmp_path: Path) -> None:
    stream = FakeStream(["half"], stuck=True)
    backend = Backend(memory, stream, FakeStream(["two"]))
    chats = open_chats(backend, tmp_path)
    await chats.load()
    chat = chats.new()
    chats.answers.enqueue(chat, "first")
    chats.answers.enqueue(chat, "second")
    await until(lambda: chat.state is ChatState.GENERATING)
    chats.answers.stop(chat)
    await idle(chat)
    assert stream.finish_reason is FinishReason.CANCELLED
    assert said(memory, chat) == ["first", "half", "second", "two"]


async def test_what_is_queued_behind_a_failed_answer_waits_for_the_person(
    memory: Memory, tmp_path: Path
) -> None:
    backend = Backend(memory, FakeStream(["half"], ending=GenerationFailed("It broke.")), FakeStream(["ok"]))
    listener = Listener()
    chats = open_chats(backend, tmp_path, listener)
    await chats.load()
    chat = chats.new()
    chats.answers.enqueue(chat, "first")
    chats.answers.enqueue(chat, "second")
    await idle(chat)
    assert (chat.queue, chat.state, listener.returned) == (["second"], ChatState.HELD, [])
    assert chat.entries is not None
    assert (chat.entries[-1].status, chat.entries[-1].error) == ("failed", "It broke.")
    assert chats.answers.take_back(chat) == "second"
    assert chat.state is ChatState.IDLE
    assert chats.answers.take_back(chat) is None


async def test_a_chat_in_the_background_is_marked(memory: Memory, tmp_path: Path) -> None:
    backend = Backend(memory, FakeStream(["ok"]), FakeStream(["no"], ending=GenerationFailed("It broke.")))
    chats = open_chats(backend, tmp_path)
    await chats.load()
    seen, other = chats.new("seen"), chats.new("other")
    chats.look_at(seen)
    assert chats.visible is seen
    chats.answers.enqueue(other, "hello")
    await idle(other)
    assert (other.unread, other.failed) == (True, False)
    assert backend.focused == [None], "the chat on the screen was favoured, and it is not stored"
    chats.look_at(other)
    await chats.open(other)
    assert (other.unread, chats.visible) == (False, other)
    chats.look_at(seen)
    chats.answers.enqueue(other, "hello")
    await idle(other)
    assert (other.unread, other.failed) == (True, True)


def test_kept_drafts_are_only_those_with_something_in_them() -> None:
    assert not KeptDraft(title="a title alone", draft=" \n")
