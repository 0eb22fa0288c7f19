"""Several chats: generating at once, switching, marks, names, deleting, leaving."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from chat_tests.tui_kit import (
    MODEL,
    ask,
    engine_of,
    make_runtime,
    rows,
    running,
    say,
    shown,
    toasts,
    type_in,
    until,
)
from textual.pilot import Pilot
from textual.widgets import Input, Markdown, OptionList, Static

from memory import DiskFull, SessionRecord
from stevemin_chat.base.config import MemorySection
from stevemin_chat.chats import ChatState
from stevemin_chat.tui.chat_screen import ChatScreen
from stevemin_chat.tui.screens.dialogs import Confirm


def listing(screen: ChatScreen) -> list[str]:
    """The list of chats as it is read, mark and title."""
    return [str(option.prompt) for option in screen.query_one("#chats", OptionList).options]


async def test_four_chats_answer_at_once_and_keep_their_own_text(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path), (160, 50)) as (pilot, screen):
        streams = []
        for number in range(4):
            if number:
                await pilot.press("ctrl+n")
            streams.append(await ask(pilot, screen, f"Question {number}"))
        for piece in ("red ", "green ", "blue"):
            for number, stream in enumerate(streams):
                stream.push(f"{piece}{number} ")
        await until(
            pilot, lambda: all(chat.state is ChatState.GENERATING for chat in screen.controller.chats.all)
        )
        await until(pilot, lambda: "blue3" in shown(screen))
        assert len(screen.query(Markdown)) == 1, "only the visible chat is rendered"
        for stream in streams:
            stream.end()
        await until(pilot, lambda: not screen.controller.chats.busy)
        marks = {line[2:12]: line[0] for line in listing(screen)}
        assert marks == {"Question 3": " ", "Question 2": "●", "Question 1": "●", "Question 0": "●"}
        for number in (2, 1, 0):
            await pilot.press("alt+down")
            await until(pilot, lambda number=number: f"blue{number}" in shown(screen))  # type: ignore[misc]
            assert f"red {number} green {number} blue{number}" in shown(screen)
        assert not any(line.startswith("●") for line in listing(screen))


async def test_coming_back_in_mid_answer_shows_all_and_streams_on(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "First")
        stream.push("```python\nwhile True:\n")
        await until(pilot, lambda: "while True:" in shown(screen))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "while True:" not in shown(screen))
        stream.push("    one()\n")
        await until(pilot, lambda: stream.text.endswith("one()\n"))
        await pilot.press("alt+down")
        await until(pilot, lambda: "one()" in shown(screen))
        stream.push("    two()\n```\nafter")
        stream.end()
        await until(pilot, lambda: "after" in shown(screen))
        assert "while True:\n    one()\n    two()" in shown(screen), "still one code block"


async def test_switching_faster_than_chats_are_shown_ends_at_the_last_one(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    for number in range(8):
        session = runtime.memory.create_session(f"Chat {number}")
        parent = None
        for turn in range(12):
            question = runtime.memory.add_message(session.id, "user", f"Q{turn}", parent_id=parent)
            answer = f"A **b**\n\n- x\n- y\n\n```python\nx = 1\n```\nEND{turn} of {number}"
            parent = runtime.memory.add_message(session.id, "assistant", answer, parent_id=question.id).id
    async with running(runtime, (140, 40)) as (pilot, screen):
        stored = [chat for chat in screen.controller.chats.all if chat.record]
        for _ in range(2):  # with chats that are read, and with chats that are not
            for chat in stored:
                screen.controller.switch(chat)
                await asyncio.sleep(0.02)
            last = f"END11 of {stored[-1].title[-1]}"
            await until(pilot, lambda last=last: last in shown(screen), 20)  # type: ignore[misc]
            assert shown(screen).count("END11 of") == 1
            stored.reverse()
        assert screen.app.is_running


async def test_the_engine_is_told_which_chat_is_on_the_screen(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        engine = engine_of(screen)
        first = (await ask(pilot, screen, "First")).request.session_id
        assert engine.focused[-1] == first, "told before the request, when the chat got its session"
        await pilot.press("ctrl+n")
        assert engine.focused[-1] is None
        second = (await ask(pilot, screen, "Second")).request.session_id
        assert engine.focused[-1] == second != first
        await pilot.press("alt+down")
        await until(pilot, lambda: engine.focused[-1] == first)
        await screen.controller.chats.delete(screen.controller.chats.all[1])
        assert engine.focused[-1] is None


async def test_a_chat_belongs_to_the_project_that_it_was_begun_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "boat"
    (project / ".git").mkdir(parents=True)
    monkeypatch.chdir(project)
    async with running(make_runtime(tmp_path, memory=MemorySection(scope="project"))) as (pilot, screen):
        await ask(pilot, screen, "Hello")
        (record,) = screen.controller.runtime.memory.sessions()
        assert (record.project, record.scope) == (str(project), "project")


async def test_a_chat_that_was_left_does_not_take_the_focus(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    go_on, create = Event(), runtime.memory.create_session

    def late(title: str, **settings: Any) -> SessionRecord:
        go_on.wait()
        return create(title, **settings)

    runtime.memory.create_session = late  # type: ignore[assignment,method-assign]
    async with running(runtime) as (pilot, screen):
        await say(pilot, screen, "Hello")
        await pilot.press("ctrl+n")
        go_on.set()
        await until(pilot, lambda: engine_of(screen).streams)
        assert set(engine_of(screen).focused) == {None}


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (
            "\x1b[31mHow long does the dough rest,\nand in which bowl?",
            "How long does the dough rest, and in…",
        ),
        ("\ue000", "New chat"),
    ],
    ids=["long", "nothing to see"],
)
async def test_a_chat_is_called_by_its_first_message(tmp_path: Path, text: str, title: str) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        assert screen.controller.chat is not None
        screen.controller.send(text)
        await until(pilot, lambda: engine_of(screen).streams)
        assert screen.controller.chat.title == title
        assert [record.title for record in runtime.memory.sessions()] == [title]


async def test_each_chat_keeps_its_draft(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "First")
        stream.end()
        await type_in(pilot, screen, *"half a")
        await type_in(pilot, screen, "ctrl+n", *"other")
        await pilot.press("alt+down")
        assert screen.prompt.text == "half a"
        await pilot.press("alt+up")
        assert screen.prompt.text == "other"


async def test_the_list_opens_chats_by_key_and_mouse(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path), (120, 30)) as (pilot, screen):
        for number in range(3):
            if number:
                await pilot.press("ctrl+n")
            (await ask(pilot, screen, f"Question {number}")).end()
        await pilot.press("f3", "down", "enter")
        await until(pilot, lambda: screen.controller.chat and screen.controller.chat.title == "Question 1")
        assert screen.focused is screen.prompt
        await pilot.click("#chats", offset=(4, 2))
        await until(pilot, lambda: screen.controller.chat and screen.controller.chat.title == "Question 0")


async def test_a_chat_is_renamed_and_deleted(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        (await ask(pilot, screen, "Old name")).end()
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(screen.app.focused, Input))
        screen.app.screen.query_one(Input).value = "New [b]name"
        await pilot.press("enter")
        await until(pilot, lambda: runtime.memory.sessions()[0].title == "New [b]name")
        session_id = runtime.memory.sessions()[0].id
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(screen.app.screen, Confirm))
        await pilot.press("n")
        await pilot.pause()
        assert len(runtime.memory.sessions()) == 1
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(screen.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: not runtime.memory.sessions())
        assert engine_of(screen).forgotten == [session_id]
        await until(pilot, lambda: screen.controller.chat and screen.controller.chat.blank)


async def test_deleting_a_chat_stops_its_answer(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        stream = await ask(pilot, screen, "Go on")
        stream.push("text")
        await until(pilot, lambda: "text" in shown(screen))
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(screen.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: not runtime.memory.sessions())
        assert stream.done


async def test_stored_chats_are_there_after_a_restart(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    record = runtime.memory.create_session("Yesterday")
    parent = runtime.memory.add_message(record.id, "user", "What did I say?")
    reply = runtime.memory.begin_reply(record.id, parent_id=parent.id, model=MODEL)
    runtime.memory.finish_reply(
        reply.id, "Something\x1b[31m.", status="cancelled", finish_reason="cancelled", timings=None
    )
    async with running(runtime) as (pilot, screen):
        assert "Type a message below and press enter to begin." not in shown(screen)
        await pilot.press("alt+down")
        await until(pilot, lambda: "Something." in shown(screen))
        assert "stopped" in shown(screen)


async def test_leaving_stores_what_was_written(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    closed_store = runtime.memory.close
    runtime.memory.close = lambda: None  # type: ignore[method-assign]
    async with running(runtime) as (pilot, screen):
        stream = await ask(pilot, screen, "Go on")
        stream.push("half an answer")
        await until(pilot, lambda: "half an answer" in shown(screen))
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not screen.app.is_running)
    stored = runtime.memory.messages(runtime.memory.sessions()[0].id)
    assert [(m.content, m.status) for m in stored] == [("Go on", "complete"), ("half an answer", "cancelled")]
    closed_store()


async def test_what_was_typed_survives_leaving(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await ask(pilot, screen, "Stored")
        await say(pilot, screen, "Queued")
        await type_in(pilot, screen, "ctrl+n", *"half")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not screen.app.is_running)
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        assert screen.prompt.text == "half"
        await pilot.press("alt+down")
        assert screen.controller.chat is not None
        assert (screen.prompt.text, screen.controller.chat.queue) == ("", ["Queued"]), (
            "not sent, and not lost"
        )
        assert not engine_of(screen).streams
        await pilot.press("enter")
        await until(pilot, lambda: engine_of(screen).streams)
        assert engine_of(screen).streams[0].request.messages[-1].content == "Stored\n\nQueued"


async def test_drafts_of_several_new_chats_survive_leaving(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await type_in(pilot, screen, *"one", "ctrl+n", *"two", "ctrl+n", *"three")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not screen.app.is_running)
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        assert [chat.draft for chat in screen.controller.chats.all] == ["three", "two", "one"]
        assert screen.prompt.text == "three"


async def test_folding_leaves_the_room_to_the_chat(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path), (80, 24)) as (pilot, screen):
        sessions, metrics = screen.query_one("#sessions"), screen.query_one("#metrics")
        assert not sessions.display
        assert not metrics.display
        await pilot.press("ctrl+l")
        assert sessions.display
        await pilot.press("ctrl+g")
        assert metrics.display
        assert not sessions.display, "there is room for one of them"
        assert screen.transcript.size.width > 36
        await pilot.resize_terminal(160, 50)
        await pilot.pause()
        assert sessions.display
        assert metrics.display
        await pilot.press("ctrl+g")
        assert not metrics.display
        assert any("GPU" in row for row in rows(screen)) is False


async def test_a_chat_that_cannot_be_stored_gives_its_text_back(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        (await ask(pilot, screen, "First")).end()
        await until(pilot, lambda: not screen.controller.chats.busy)

        def refuse(*args: object, **kwargs: object) -> None:
            raise DiskFull(tmp_path)

        runtime.memory.add_message = refuse  # type: ignore[assignment,method-assign]
        screen.prompt.put("Precious words")
        await pilot.press("enter")
        await until(pilot, lambda: screen.prompt.text == "Precious words")
        assert any("disk is full" in text for text in toasts(screen))
        assert "Precious words" not in shown(screen)


async def titled(pilot: Pilot[None], screen: ChatScreen, *titles: str) -> None:
    """One chat for each title, the last one visible."""
    for number, title in enumerate(titles):
        if number:
            await pilot.press("ctrl+n")
        (await ask(pilot, screen, title)).end()
    await until(pilot, lambda: not screen.controller.chats.busy)


def titles(screen: ChatScreen) -> list[str]:
    return [chat.title for chat in screen.controller.chats.all]


async def test_f2_and_f8_act_on_the_chat_that_is_highlighted_in_the_list(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        await titled(pilot, screen, "One", "Two", "Three")
        await pilot.press("f3", "down", "f2")
        await until(pilot, lambda: isinstance(screen.app.focused, Input))
        assert screen.app.screen.query_one(Input).value == "Two"
        screen.app.screen.query_one(Input).value = "Second"
        await pilot.press("enter")
        await until(pilot, lambda: titles(screen) == ["Three", "Second", "One"])
        await pilot.press("f8", "down")
        await until(pilot, lambda: isinstance(screen.app.screen, Confirm))
        assert "“Second”" in str(screen.app.screen.query(Static).first().visual), "marked when f8 was pressed"
        await pilot.press("y")
        await until(pilot, lambda: titles(screen) == ["Three", "One"])
        assert screen.controller.chat is screen.controller.chats.all[0], "the visible chat stays"
        assert {record.title for record in runtime.memory.sessions()} == {"Three", "One"}


async def test_f2_and_f8_act_on_the_visible_chat_while_the_prompt_has_the_focus(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await titled(pilot, screen, "One", "Two")
        await pilot.press("f3", "down", "escape")
        assert screen.focused is screen.prompt
        await say(pilot, screen, "/rename Second")
        await until(pilot, lambda: titles(screen) == ["Second", "One"])
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(screen.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: titles(screen) == ["One"])
        assert screen.controller.chat is screen.controller.chats.all[0]
