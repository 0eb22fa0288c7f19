"""Keys that arrive faster than the screen answers, and keys before the chats have been read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from unittest.mock import AsyncMock

import pytest
from chat_tests.tui_kit import FakeDevices, app_over, burst, engine_of, make_runtime, running, toasts, until
from textual import events
from textual.pilot import Pilot
from textual.widgets import Static

from memory import SessionRecord, StoreError
from stevemin_chat.chats import Drafts
from stevemin_chat.runtime import Runtime
from stevemin_chat.tui.app import SteveminApp
from stevemin_chat.tui.chat_screen import ChatScreen
from stevemin_chat.tui.controller import Controller
from stevemin_chat.tui.screens.help import HelpScreen
from stevemin_chat.tui.view import View


def queued(screen: ChatScreen) -> list[str]:
    """Every message that was sent or waits, in order."""
    sent = [stream.request.messages[-1].content for stream in engine_of(screen).streams]
    assert screen.controller.chat is not None
    return sent + screen.controller.chat.queue


async def test_enter_takes_the_text_before_it_whatever_keys_are_behind_it(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        burst(screen, *"hi", "enter", "enter", *"one", "enter", *"two")
        await until(pilot, lambda: screen.prompt.text == "two")
        await until(pilot, lambda: queued(screen) == ["hi", "one"])


@pytest.mark.parametrize(
    ("keys", "sent", "draft"),
    [
        ((*"hellp", "backspace", "o", "enter", *"second"), "hello", "second"),
        ((*"bc", "home", "a", "end", "d", "enter", "x"), "abcd", "x"),
        ((*"ac", "left", "b", "right", "d", "enter"), "abcd", ""),
        ((*"wrong words", "ctrl+u", *"right", "enter"), "right", ""),
        ((*"two worms", "ctrl+w", *"words", "enter"), "two words", ""),
        ((*"abxc", "left", "left", "delete", "enter"), "abc", ""),
        ((*"abcd", "shift+left", "shift+left", "x", "enter"), "abx", ""),
        ((*"abcd", "f7", "x", "enter", "y"), "x", "y"),
        (("a", "ctrl+j", *"cb", "up", "home", "x", "down", "end", "d", "enter"), "xa\ncbd", ""),
        ((*"abc", "left", "ctrl+k", "d", "enter", "e"), "abd", "e"),
    ],
)
async def test_editing_keys_take_effect_in_the_order_of_typing(
    tmp_path: Path, keys: tuple[str, ...], sent: str, draft: str
) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        burst(screen, *keys)
        await until(pilot, lambda: queued(screen) == [sent] and screen.prompt.text == draft)


async def test_text_behind_a_key_of_a_command_is_typed_after_it(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        burst(screen, *"one", "ctrl+n", *"two", "ctrl+n", *"three", "alt+down", *"ty")
        await until(pilot, lambda: screen.prompt.text == "twoty")
        await screen.controller.tidy()
        assert [chat.draft for chat in screen.controller.chats.all] == ["three", "twoty", "one"]


async def test_a_command_in_a_burst_is_run_and_the_text_behind_it_stays(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        burst(screen, "slash", *"theme", "space", *"nord", "enter", *"hi", "enter", *"x")
        await until(pilot, lambda: screen.app.theme == "nord" and queued(screen) == ["hi"])
        assert screen.prompt.text == "x"
        assert not screen.prompt.completing


async def test_the_list_of_completions_fits_the_text_in_a_burst(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        burst(screen, "slash", *"co", "down", "tab", "space", *"full", "enter")
        await until(pilot, lambda: screen.controller.strategy == "full")
        burst(screen, "slash", *"co", "escape", *"p", "escape")
        await until(pilot, lambda: screen.prompt.text == "/cop")
        assert not screen.prompt.completing


@pytest.mark.parametrize("text", ["/rename one\ntwo", "/memroy add tea\nand cake", "/memory off\nnow"])
async def test_a_command_of_several_lines_is_never_sent_and_keeps_its_text(tmp_path: Path, text: str) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        screen.prompt.put(text)
        burst(screen, "enter")
        await until(pilot, lambda: toasts(screen))
        assert screen.prompt.text == text
        assert queued(screen) == []


async def test_a_fact_may_come_on_the_next_line(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        screen.prompt.put("/memory add\nlikes tea\nand cake")
        burst(screen, "enter")
        facts = runtime.memory.long_term.facts
        await until(pilot, lambda: [fact.text for fact in facts()] == ["likes tea and cake"])
        assert queued(screen) == []


async def test_alt_with_a_letter_is_a_key_and_never_text(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        burst(screen, *"ab")
        screen.app.post_message(events.Key("alt+c", "c"))  # as without the kitty protocol
        screen.app.post_message(events.Key("alt+x", "x"))
        screen.app.post_message(events.Key("alt+enter", None))
        burst(screen, *"de")
        await until(pilot, lambda: "There is no answer to copy." in toasts(screen))
        assert screen.prompt.text == "ab\nde"
        assert queued(screen) == []


@asynccontextmanager
async def opening(runtime: Runtime, gate: asyncio.Event) -> AsyncIterator[tuple[Pilot[None], ChatScreen]]:
    """The application as it is before the gate opens: drawn, and nothing else."""

    async def opener(view: View) -> Controller:
        await gate.wait()
        return Controller(runtime, view, model="tiny", devices=FakeDevices())  # type: ignore[arg-type]

    app = SteveminApp(opener)
    try:
        async with app.run_test(size=(100, 30), notifications=True) as pilot:
            assert isinstance(app.screen, ChatScreen)
            await until(pilot, lambda: app._opening is not None)
            yield pilot, app.screen
    finally:
        gate.set()
        await app.close()


async def test_what_is_entered_before_the_chats_are_read_is_sent_afterwards(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with opening(make_runtime(tmp_path), gate) as (pilot, screen):
        burst(screen, *"hi", "enter", "enter", *"one", "enter", *"two")
        await pilot.press("f1")
        assert not screen.attached
        assert screen.prompt.text == "two"
        bar = screen.query_one("#queue", Static)
        assert "hi" in str(bar.visual)
        assert "one" in str(bar.visual)
        gate.set()
        await until(pilot, lambda: isinstance(screen.app.screen, HelpScreen))
        await until(pilot, lambda: screen.controller.runtime.engine is not None and engine_of(screen).streams)
        assert queued(screen) == ["hi", "one"]
        assert screen.prompt.text == "two"


async def test_commands_entered_before_the_chats_are_read_keep_their_place_among_the_messages(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    async with opening(make_runtime(tmp_path), gate) as (pilot, screen):
        burst(screen, *"one", "enter", "ctrl+n", *"two", "enter", *"half")
        await until(pilot, lambda: screen.prompt.text == "half")
        gate.set()
        await until(pilot, lambda: screen.attached and screen.controller.runtime.engine is not None)
        await until(pilot, lambda: len(engine_of(screen).streams) == 2)
        asked = [[m.content for m in stream.request.messages] for stream in engine_of(screen).streams]
        assert sorted(asked) == [["one"], ["two"]]
        chat = screen.controller.chat
        assert chat is not None
        assert chat.title == "two"
        assert screen.prompt.text == "half", "it belongs to the newest chat"


async def test_leaving_while_the_chats_are_read_is_no_failure(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    reading, go_on, sessions = Event(), Event(), runtime.memory.sessions

    def slow() -> list[SessionRecord]:
        reading.set()
        go_on.wait(20)
        return sessions()

    runtime.memory.sessions = slow  # type: ignore[method-assign]
    app = app_over(runtime)
    try:
        async with app.run_test() as pilot:
            await until(pilot, reading.is_set)
            await pilot.press("ctrl+q")
            await until(pilot, lambda: not app.is_running)
    finally:
        go_on.set()
        await app.close()
    assert (app.return_code, app.failure) == (0, None)
    assert runtime.engine is None, "nobody is there who needs a model"


async def test_leaving_before_anything_is_drawn_ends_the_application(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    app = app_over(runtime)
    await app.leave(143)
    assert app.return_code == 143
    await runtime.close()


async def test_leaving_early_stores_what_was_typed(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with opening(make_runtime(tmp_path), gate) as (pilot, screen):
        burst(screen, *"half a")
        await pilot.press("ctrl+q")
        assert screen.app.is_running, "there is no store yet"
        gate.set()
        await until(pilot, lambda: not screen.app.is_running)
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        assert screen.prompt.text == "half a"


async def test_leaving_before_the_store_is_being_opened_stores_what_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make_runtime(tmp_path)
    app = app_over(runtime)
    # The store is opened in the first idle moment, which does not come as long as there are keys to handle.
    monkeypatch.setattr(app, "_begin", AsyncMock())
    async with app.run_test() as pilot:
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        burst(screen, *"hi", "enter", *"half a")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not app.is_running)
    await app.close()
    (kept,) = Drafts(runtime.paths.data / "drafts.json").read()
    assert (kept.queue, kept.draft) == (("hi",), "half a")


async def test_leaving_early_waits_for_nothing_if_nothing_was_typed(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    async with opening(make_runtime(tmp_path), gate) as (pilot, screen):
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not screen.app.is_running)
        assert not gate.is_set()


async def test_a_store_that_cannot_be_opened_ends_the_application() -> None:
    async def opener(view: View) -> Controller:
        raise StoreError("The database is damaged.")

    app = SteveminApp(opener)
    async with app.run_test() as pilot:
        await until(pilot, lambda: not app.is_running)
    assert app.return_code == 1
    assert str(app.failure) == "The database is damaged."
