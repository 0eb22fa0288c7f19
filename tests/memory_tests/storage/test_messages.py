"""The tree of messages and the life of a reply."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from memory import Memory, MessageNotFound
from memory.storage.messages import is_alive


def contents(memory: Memory, session_id: str) -> list[str]:
    return [item.content for item in memory.messages(session_id)]


def test_messages_follow_the_head(memory: Memory) -> None:
    session = memory.create_session()
    first = memory.add_message(session.id, "user", "one")
    second = memory.add_message(session.id, "assistant", "two")
    assert (first.parent_id, second.parent_id) == (None, first.id)
    assert (first.role, first.status, first.session_id) == ("user", "complete", session.id)
    assert memory.messages(session.id) == [first, second]
    assert memory.message(first.id) == first
    record = memory.session(session.id)
    assert (record.head_id, record.message_count) == (second.id, 2)
    assert record.updated_at > session.updated_at


def test_text_is_stored_as_it_is(memory: Memory) -> None:
    session = memory.create_session()
    for text in ("", "\x1b[31mred\x1b[0m\x00\x07", "line\r\nline\n", "\N{BREAD} ﬁ é e\u0301", "%s ? :a"):
        assert memory.add_message(session.id, "user", text).content == text
    assert memory.add_message(session.id, "user", "half \ud83c").content == "half \ufffd"


def test_an_edit_makes_a_sibling_and_copies_nothing(memory: Memory) -> None:
    session = memory.create_session()
    memory.add_message(session.id, "user", "q1")
    answer = memory.add_message(session.id, "assistant", "a1")
    old = memory.add_message(session.id, "user", "q2 old")
    memory.add_message(session.id, "assistant", "a2 old")
    new = memory.add_message(session.id, "user", "q2 new", parent_id=answer.id)
    assert contents(memory, session.id) == ["q1", "a1", "q2 new"]
    assert [item.id for item in memory.siblings(old.id)] == [old.id, new.id]
    assert memory.siblings(new.id) == memory.siblings(old.id)
    assert memory.session(session.id).message_count == 5
    assert [item.content for item in memory.messages(session.id, head=old.id)] == ["q1", "a1", "q2 old"]


def test_the_first_message_can_have_siblings_too(memory: Memory) -> None:
    session = memory.create_session()
    other = memory.create_session()
    memory.add_message(other.id, "user", "elsewhere")
    one = memory.add_message(session.id, "user", "one")
    two = memory.add_message(session.id, "user", "two", parent_id=None)
    assert memory.siblings(one.id) == [one, two]
    assert contents(memory, session.id) == ["two"]


def test_selecting_a_branch_goes_to_its_last_message(memory: Memory) -> None:
    session = memory.create_session()
    root = memory.add_message(session.id, "user", "root")
    left = memory.add_message(session.id, "assistant", "left")
    memory.add_message(session.id, "user", "left end")
    memory.add_message(session.id, "assistant", "right", parent_id=root.id)
    assert memory.select_branch(left.id).content == "left end"
    assert contents(memory, session.id) == ["root", "left", "left end"]
    assert memory.select_branch(root.id).content == "right"


def test_messages_of_another_session_cannot_be_parents_or_heads(memory: Memory) -> None:
    here, there = memory.create_session(), memory.create_session()
    message = memory.add_message(there.id, "user", "there")
    memory.add_message(here.id, "user", "here")
    with pytest.raises(MessageNotFound, match=message.id):
        memory.add_message(here.id, "user", "x", parent_id=message.id)
    with pytest.raises(MessageNotFound, match=message.id):
        memory.messages(here.id, head=message.id)
    assert contents(memory, here.id) == ["here"]


def test_unknown_messages_are_refused(memory: Memory) -> None:
    for call in (
        lambda: memory.message("nope"),
        lambda: memory.siblings("nope"),
        lambda: memory.select_branch("nope"),
        lambda: memory.update_reply("nope", "text"),
        lambda: memory.finish_reply("nope", "text", status="complete"),
    ):
        with pytest.raises(MessageNotFound, match="'nope'"):
            call()


def test_the_life_of_a_reply(memory: Memory) -> None:
    session = memory.create_session()
    question = memory.add_message(session.id, "user", "q")
    reply = memory.begin_reply(session.id, parent_id=question.id, model="m")
    assert (reply.role, reply.status, reply.content, reply.model) == ("assistant", "streaming", "", "m")
    assert memory.session(session.id).head_id == reply.id
    memory.update_reply(reply.id, "par")
    assert memory.message(reply.id).content == "par"
    timings = {"ttft_s": 0.25, "prompt_tokens": 7}
    memory.finish_reply(reply.id, "partial", status="cancelled", finish_reason="cancelled", timings=timings)
    ended = memory.message(reply.id)
    assert (ended.content, ended.status, ended.finish_reason) == ("partial", "cancelled", "cancelled")
    assert (ended.timings, ended.error) == (timings, None)


def test_a_failed_reply_keeps_its_error(memory: Memory) -> None:
    session = memory.create_session()
    reply = memory.begin_reply(session.id)
    memory.finish_reply(reply.id, "", status="failed", error="It broke.")
    assert (memory.message(reply.id).status, memory.message(reply.id).error) == ("failed", "It broke.")


def test_a_late_update_does_not_touch_a_reply_that_has_ended(memory: Memory) -> None:
    session = memory.create_session()
    reply = memory.begin_reply(session.id)
    memory.finish_reply(reply.id, "the whole text", status="complete")
    memory.update_reply(reply.id, "the wh")
    assert memory.message(reply.id).content == "the whole text"


def test_replies_of_living_processes_are_not_interrupted(memory: Memory) -> None:
    reply = memory.begin_reply(memory.create_session().id)
    assert memory.recover_interrupted() == 0
    assert memory.message(reply.id).status == "streaming"


_BEGIN_AND_DIE = """
import os, sys
from pathlib import Path
from memory import Memory
memory = Memory(Path(sys.argv[1]))
session = memory.create_session("died")
reply = memory.begin_reply(session.id)
memory.update_reply(reply.id, "half a rep")
done = memory.begin_reply(session.id)
memory.finish_reply(done.id, "done", status="complete")
os.kill(os.getpid(), 9)
"""


def test_replies_of_dead_processes_are_interrupted_once(memory: Memory) -> None:
    mine = memory.begin_reply(memory.create_session().id)
    dead = subprocess.run([sys.executable, "-c", _BEGIN_AND_DIE, str(memory.path)], timeout=60, check=False)
    assert dead.returncode == -9
    assert memory.recover_interrupted() == 1
    interrupted, done = memory.messages(memory.session("died").id)
    assert (interrupted.status, interrupted.content) == ("interrupted", "half a rep")
    assert done.status == "complete"
    assert memory.message(mine.id).status == "streaming"
    assert memory.recover_interrupted() == 0


def test_a_process_younger_than_the_reply_did_not_write_it() -> None:
    # In a container a new process often gets the dead one's id; here it is even this process.
    born = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
    assert is_alive(os.getpid(), (born + timedelta(seconds=1)).isoformat())
    assert not is_alive(os.getpid(), (born - timedelta(hours=1)).isoformat())
    assert not is_alive(None, born.isoformat())


def test_a_zombie_counts_as_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    process = psutil.Process(child.pid)
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    now = datetime.now(UTC).isoformat()
    assert not is_alive(child.pid, now)
    child.wait()
    assert not is_alive(child.pid, now)


def test_many_threads_write_at_once(memory: Memory) -> None:
    sessions = [memory.create_session(f"s{number}").id for number in range(4)]

    def write(number: int) -> None:
        session_id = sessions[number % 4]
        memory.add_message(session_id, "user", f"q{number}")
        reply = memory.begin_reply(session_id)
        memory.update_reply(reply.id, f"a{number}"[:1])
        memory.finish_reply(reply.id, f"a{number}", status="complete")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(60)))
    branches = [memory.messages(session_id) for session_id in sessions]
    assert [len(branch) for branch in branches] == [30] * 4  # one chain each: no head was lost
    texts = {item.content for branch in branches for item in branch}
    assert texts == {f"{kind}{number}" for kind in "qa" for number in range(60)}


def _write_in_a_process(path: Path, name: str) -> None:
    with Memory(path) as memory:
        session = memory.session("shared")
        for number in range(40):
            memory.add_message(session.id, "user", f"{name}{number}")


def test_two_processes_write_at_once(memory: Memory) -> None:
    session = memory.create_session("shared")
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_write_in_a_process, args=(memory.path, name)) for name in "ab"]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert len(memory.messages(session.id)) == 80
