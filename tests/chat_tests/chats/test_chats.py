"""All chats: drafts and queues from the last run, deleting, and settings of a chat."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from chat_tests.chats.chats_kit import Backend, Listener, blocked, idle, open_chats, said
from chat_tests.chats.fake_source import FakeStream
from waiting import until

from memory import DiskFull, Memory, Recall, StoreUnavailable, UnknownStrategy
from stevemin_chat.chats import ChatState, Drafts
from stevemin_chat.chats.drafts import DraftsNotRead, DraftsUnreadable


async def test_every_chats_draft_and_queue_is_there_in_the_next_run(memory: Memory, tmp_path: Path) -> None:
    backend = Backend(memory, FakeStream(["ok"]))
    backend.has_model = False
    first = open_chats(backend, tmp_path)
    record = memory.create_session("stored")
    await first.load()
    first.keep_draft(first.all[0], "half")
    for title in ("one", "two"):
        chat = first.new(title)
        first.keep_draft(chat, f"draft of {title}")
        await first.configure(chat, off_record=True)
    first.answers.enqueue(first.all[0], "queued")
    first.answers.enqueue(first.all[0], "more")
    await first.close()

    backend.has_model = True
    chats = open_chats(backend, tmp_path)
    await chats.load()
    assert [(chat.title, chat.draft, chat.queue) for chat in chats.all] == [
        ("two", "draft of two", ["queued", "more"]),
        ("one", "draft of one", []),
        ("stored", "half", []),
    ]
    assert [chat.off_record for chat in chats.all] == [True, True, False]
    assert chats.opening() is chats.all[0]
    two = chats.all[0]
    assert (two.on_hold, two.state) == (True, ChatState.HELD)
    chats.resume()  # as after loading the model
    assert not chats.busy, "nothing is sent that nobody asked for in this run"
    backend.model._streams.append(FakeStream(["ok"]))
    chats.answers.start(two)
    await idle(two)
    assert said(memory, two) == ["queued", "ok", "more", "ok"]
    assert memory.sessions()[0].off_record
    await chats.keep_drafts()
    assert [item.draft for item in Drafts(tmp_path / "drafts.json").read()] == [
        "draft of two",
        "draft of one",
        "half",
    ]
    assert record.id == chats.all[2].key


async def test_answering_again_leaves_a_queue_on_hold_alone(memory: Memory, tmp_path: Path) -> None:
    record = memory.create_session("stored")
    memory.add_message(record.id, "user", "hi")
    kept = {"chats": [{"session_id": record.id, "queue": ["held"]}]}
    (tmp_path / "drafts.json").write_text(json.dumps(kept))
    chats = open_chats(Backend(memory, FakeStream(["hello"]), FakeStream(["unasked"])), tmp_path)
    await chats.load()
    chat = chats.all[0]
    await chats.open(chat)
    assert chats.answers.regenerate(chat)
    await idle(chat)
    assert said(memory, chat) == ["hi", "hello"]
    assert (chat.queue, chat.on_hold) == (["held"], True)


async def test_settings_of_an_empty_new_chat_survive_a_restart(memory: Memory, tmp_path: Path) -> None:
    first = open_chats(Backend(memory), tmp_path)
    await first.load()
    await first.configure(first.new(), off_record=True)
    await first.close()
    chats = open_chats(Backend(memory), tmp_path)
    await chats.load()
    assert [chat.off_record for chat in chats.all] == [True]
    assert not chats.opening().off_record, "it is there, but a new chat is like any other"


async def test_the_next_message_goes_after_a_queue_on_hold(memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "drafts.json").write_text(json.dumps({"chats": [{"queue": ["one"]}]}))
    chats = open_chats(Backend(memory, FakeStream(["1"]), FakeStream(["2"])), tmp_path)
    await chats.load()
    chat = chats.all[0]
    chats.answers.enqueue(chat, "two")
    await idle(chat)
    assert said(memory, chat) == ["one", "1", "two", "2"]


async def test_drafts_of_chats_that_were_deleted_meanwhile_are_gone(memory: Memory, tmp_path: Path) -> None:
    path = tmp_path / "drafts.json"
    path.write_text(json.dumps({"chats": [{"session_id": "gone", "draft": "half"}]}))
    chats = open_chats(Backend(memory), tmp_path)
    await chats.load()
    await chats.keep_drafts()
    assert Drafts(path).read() == []


async def test_a_store_that_cannot_be_read_costs_no_draft(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "drafts.json"
    path.write_text(
        json.dumps({"chats": [{"session_id": "s1", "draft": "of a stored chat"}, {"draft": "of a new one"}]})
    )
    chats = open_chats(Backend(memory), tmp_path)

    def refuse() -> None:
        raise StoreUnavailable("The database is locked.")

    monkeypatch.setattr(memory, "sessions", refuse)
    with pytest.raises(StoreUnavailable):
        await chats.load()
    assert [chat.draft for chat in chats.all] == ["of a new one"]
    chats.keep_draft(chats.opening(), "of a new one, longer")
    await chats.close()
    assert [item.draft for item in Drafts(path).read()] == ["of a new one, longer", "of a stored chat"]


async def test_drafts_that_were_not_read_are_not_written_over(memory: Memory, tmp_path: Path) -> None:
    path = tmp_path / "drafts.json"
    path.write_text(json.dumps({"chats": [{"draft": "half"}]}))
    chats = open_chats(Backend(memory), tmp_path)
    chats.keep_draft(chats.new(), "typed before the chats were read")
    await chats.close()
    assert [item.draft for item in Drafts(path).read()] == ["half"]


async def test_a_damaged_file_of_drafts_is_reported_and_the_chats_are_there(
    memory: Memory, tmp_path: Path
) -> None:
    path = tmp_path / "drafts.json"
    path.write_text("[" * 100_000)
    memory.create_session("stored")
    listener = Listener()
    chats = open_chats(Backend(memory), tmp_path, listener)
    await chats.load()
    assert [chat.title for chat in chats.all] == ["stored"]
    (error,) = listener.errors
    assert isinstance(error, DraftsUnreadable)
    assert str(tmp_path / "drafts.damaged-1.json") in str(error)
    chats.keep_draft(chats.all[0], "half")
    await chats.keep_drafts()
    assert [item.draft for item in Drafts(path).read()] == ["half"]


async def test_a_file_of_drafts_that_cannot_be_read_is_reported_and_not_written_over(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "drafts.json"
    path.write_text(json.dumps({"chats": [{"draft": "half"}]}))
    read = Path.read_bytes

    def refuse(file: Path) -> bytes:
        if file == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return read(file)

    listener = Listener()
    chats = open_chats(Backend(memory), tmp_path, listener)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        await chats.load()
    (error,) = listener.errors
    assert isinstance(error, DraftsNotRead)
    assert "Permission denied" in str(error)
    chats.keep_draft(chats.new(), "typed in this run")
    await chats.close()
    assert [item.draft for item in Drafts(path).read()] == ["half"]


async def test_a_write_of_drafts_that_is_cancelled_does_not_run_into_the_next(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = open_chats(Backend(memory), tmp_path)
    await chats.load()
    chat = chats.new()
    entered, go_on = threading.Event(), threading.Event()
    write, at_once, most = Drafts.write, [0], [0]

    def slow(drafts: Drafts, kept: Any) -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        entered.set()
        assert go_on.wait(60)
        write(drafts, kept)
        at_once[0] -= 1

    monkeypatch.setattr(Drafts, "write", slow)
    chats.keep_draft(chat, "half")
    polling = asyncio.create_task(chats.keep_drafts())
    await until(entered.is_set)
    polling.cancel()
    chats.keep_draft(chat, "half a thought")
    leaving = asyncio.create_task(chats.close())
    await asyncio.sleep(0)
    go_on.set()
    await leaving
    assert most == [1]
    assert [item.draft for item in Drafts(tmp_path / "drafts.json").read()] == ["half a thought"]


async def test_a_chat_that_the_store_does_not_delete_keeps_its_queue(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Backend(memory, FakeStream(["half"], stuck=True))
    chats = open_chats(backend, tmp_path)
    await chats.load()
    chat = chats.new()
    for text in ("first", "second", "third"):
        chats.answers.enqueue(chat, text)
    await until(lambda: chat.state is ChatState.GENERATING)

    def refuse(session_id: str) -> None:
        raise DiskFull(tmp_path)

    monkeypatch.setattr(memory, "delete_session", refuse)
    with pytest.raises(DiskFull):
        await chats.delete(chat)
    assert chat in chats.all
    assert (chat.queue, chat.state) == (["second", "third"], ChatState.HELD)
    chats.resume()
    assert not chat.busy, "it waits for the person"
    assert len(backend.model.requests) == 1


async def test_a_message_sent_while_the_chat_is_deleted_is_not_answered(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Backend(memory)
    memory.create_session("chat")
    chats = open_chats(backend, tmp_path)
    await chats.load()
    chat = chats.all[0]
    chats.look_at(chat)
    with blocked(monkeypatch, memory, "delete_session") as gate:
        deleting = asyncio.create_task(chats.delete(chat))
        await until(gate.entered.is_set)
        chats.answers.enqueue(chat, "too late")
        assert not chat.busy
        await chats.delete(chat)  # a second time, which does nothing
        gate.open()
        await deleting
    assert (chats.all, chats.visible, memory.sessions()) == ([], None, [])
    assert backend.focused[-1] is None


async def test_settings_of_a_chat_that_is_not_stored_yet_go_with_its_first_message(
    memory: Memory, tmp_path: Path
) -> None:
    chats = open_chats(Backend(memory, FakeStream(["ok"])), tmp_path)
    await chats.load()
    chat = chats.new()
    with pytest.raises(UnknownStrategy):
        await chats.configure(chat, strategy="no such")
    await chats.configure(chat, strategy="full", scope="session")
    assert (chat.strategy, chat.scope) == ("full", "session")
    chats.answers.enqueue(chat, "hello")
    await idle(chat)
    (record,) = memory.sessions()
    assert (record.strategy, record.scope, chat.strategy) == ("full", "session", "full")
    await chats.configure(chat, strategy="sliding")
    assert memory.session(record.id).strategy == "sliding"


async def test_a_blank_chat_is_used_again_and_one_with_a_draft_is_not(memory: Memory, tmp_path: Path) -> None:
    chats = open_chats(Backend(memory), tmp_path)
    await chats.load()
    blank = chats.new()
    assert chats.new() is blank
    chats.keep_draft(blank, "half")
    assert chats.new() is not blank
    assert chats.new("titled") is not chats.new("titled")


async def test_what_the_store_has_forgotten_is_gone_from_every_chat(memory: Memory, tmp_path: Path) -> None:
    backend = Backend(memory, FakeStream(["ok"]), FakeStream(["half"], stuck=True))
    chats = open_chats(backend, tmp_path)
    await chats.load()
    told, asking, typing = chats.new("told"), chats.new("asking"), chats.new("typing")
    chats.answers.enqueue(told, "In Zanzibar")
    await idle(told)
    assert told.entries is not None
    assert told.record is not None
    gone = memory.long_term.forget([str(told.entries[0].message_id)])
    memory.rename_session(told.record.id, "renamed in the store")
    chats.answers.enqueue(asking, "Where?")
    await until(lambda: asking.state is ChatState.GENERATING)
    assert asking.session is not None
    for holder in (told, asking.session):
        report = holder.last_context
        assert report is not None
        quoted = Recall(message_id=gone.messages[0], score=1.0, tokens=2)
        holder.last_context = dataclasses.replace(report, recalls=(quoted,))
    chats.keep_draft(typing, "In Zanzibar")
    assert [chat.quotes(set(gone.messages)) for chat in (told, asking, typing)] == [True, True, False]

    await chats.forget(set(gone.messages), set(gone.sessions), set())
    assert [(entry.text, entry.forgotten) for entry in told.entries] == [("", True), ("", True)]
    assert (told.title, told.last_context, typing.draft) == ("renamed in the store", None, "")
    assert (asking.session.last_context, asking.session.last_prompt) == (None, ())
    assert [entry.text for entry in asking.entries or []] == ["Where?", "half"]
    await chats.close()


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import stevemin_chat.chats", {"engine", "memory", "numpy", "jinja2", "textual"}),
        ("import stevemin_chat.recall", {"engine", "memory", "numpy", "jinja2", "textual"}),
        ("from stevemin_chat.chats import Chats", {"numpy", "jinja2", "llama_cpp", "textual"}),
    ],
)
def test_what_the_first_screen_needs_loads_nothing_heavy(statement: str, absent: set[str]) -> None:
    code = f"import sys; {statement}; print(*sorted({absent} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == ""
