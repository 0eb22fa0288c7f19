"""Loading a model: progress, messages that wait for it, stopping it, and a load that fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from chat_tests.tui_kit import (
    MODEL,
    FakeEngine,
    ask,
    engine_of,
    make_runtime,
    running,
    say,
    shown,
    toasts,
    type_in,
    until,
)
from textual.widgets import OptionList

from engine import EngineCrashed, ModelCorrupt
from stevemin_chat.tui.screens.dialogs import Choose, Confirm
from stevemin_chat.tui.widgets.bands import LoadBanner, QueueBar
from stevemin_chat.tui.widgets.status_line import StatusLine


def slow_engine() -> type[FakeEngine]:
    class Slow(FakeEngine):
        load_gate = asyncio.Event()

    return Slow


def broken_engine() -> type[FakeEngine]:
    class Broken(FakeEngine):
        load_error = ModelCorrupt("tiny.gguf is damaged: pull it again.")

    return Broken


async def test_messages_sent_while_it_loads_go_out_when_it_is_ready(tmp_path: Path) -> None:
    engine = slow_engine()
    async with running(make_runtime(tmp_path, engine)) as (pilot, screen):
        banner = screen.query_one(LoadBanner)
        await until(pilot, lambda: banner.display and screen.controller.models.progress == 0.4)
        await say(pilot, screen, "Early words")
        assert screen.controller.chat is not None
        assert screen.controller.chat.queue == ["Early words"]
        await type_in(pilot, screen, "ctrl+n", *"still typing")
        assert screen.prompt.text == "still typing"
        assert engine.load_gate is not None
        engine.load_gate.set()
        await until(pilot, lambda: screen.controller.runtime.engine is not None and engine_of(screen).streams)
        assert engine_of(screen).streams[0].request.messages[-1].content == "Early words"
        assert not banner.display


async def test_a_load_can_be_stopped(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path, slow_engine())) as (pilot, screen):
        await until(pilot, lambda: screen.controller.models.progress == 0.4)
        await say(pilot, screen, "/cancel")
        await until(pilot, lambda: any("Choose one with /model" in text for text in toasts(screen)))
        assert screen.controller.models.loading is None
        assert not screen.query_one(LoadBanner).display


async def test_a_failed_load_is_told_and_the_rest_works(tmp_path: Path) -> None:
    engine = broken_engine()
    async with running(make_runtime(tmp_path, engine)) as (pilot, screen):
        await until(pilot, lambda: any("tiny.gguf is damaged" in text for text in toasts(screen)))
        await say(pilot, screen, "Kept")
        assert screen.controller.chat is not None
        assert screen.controller.chat.queue == ["Kept"]
        engine.load_error = None
        await say(pilot, screen, f"/model {MODEL}")
        await until(pilot, lambda: screen.controller.runtime.engine is not None and engine_of(screen).streams)
        assert engine_of(screen).streams[0].request.messages[-1].content == "Kept"


async def test_a_model_that_is_not_there_costs_no_answer(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        before = screen.controller.runtime.engine
        await say(pilot, screen, "/model tinny")
        await until(pilot, lambda: any("tiny" in text for text in toasts(screen)))
        await say(pilot, screen, "/model large")
        await until(pilot, lambda: any("stevemin models pull large" in text for text in toasts(screen)))
        assert screen.controller.runtime.engine is before
        stream = await ask(pilot, screen, "Still there?")
        stream.push("Yes")
        await until(pilot, lambda: "Yes" in shown(screen))


async def test_the_picker_tells_what_is_here_and_how_to_get_the_rest(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(screen.app.screen, Choose))
        here, other = screen.app.screen.query_one(OptionList).options
        assert not here.disabled
        assert other.disabled
        assert "stevemin models pull large" in str(other.prompt)
        await pilot.press("escape")


async def test_changing_the_model_asks_before_it_stops_answers(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    second = tmp_path / "second.gguf"
    second.write_bytes(b"GGUF")
    async with running(runtime) as (pilot, screen):
        stream = await ask(pilot, screen, "Go on")
        stream.push("so far")
        await until(pilot, lambda: "so far" in shown(screen))
        await say(pilot, screen, f"/model {second}")
        await until(pilot, lambda: isinstance(screen.app.screen, Confirm))
        await pilot.press("n")
        await pilot.pause()
        assert not stream.done
        await say(pilot, screen, f"/model {second}")
        await until(pilot, lambda: isinstance(screen.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: runtime.model_name == str(second))
        assert stream.done
        assert "so far" in shown(screen)
        (await ask(pilot, screen, "And now?")).push("new model")
        await until(pilot, lambda: "new model" in shown(screen))


async def test_a_crashed_engine_is_loaded_again_by_the_same_name(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        dead = engine_of(screen)
        stream = await ask(pilot, screen, "Hello")
        stream.fail(EngineCrashed("The engine has crashed."))
        await until(pilot, lambda: "failed: The engine has crashed." in shown(screen))
        await say(pilot, screen, f"/model {MODEL}")
        await until(pilot, lambda: screen.controller.runtime.engine not in (None, dead))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: engine_of(screen).streams)
        engine_of(screen).streams[0].push("back again")
        await until(pilot, lambda: "back again" in shown(screen))


async def test_the_chat_outlives_its_engine(tmp_path: Path) -> None:
    class Mortal(FakeEngine):
        dead = False

        def __getattribute__(self, name: str) -> Any:
            if name == "info" and self.dead:
                raise EngineCrashed("The engine has crashed.")
            return super().__getattribute__(name)

    async with running(make_runtime(tmp_path, Mortal)) as (_, screen):
        assert screen.controller.status().context == (0, 2048)
        Mortal.dead = True
        screen.poll()
        assert screen.controller.status().context is None
        assert "context" not in str(screen.query_one(StatusLine).visual)


async def test_what_waited_for_a_model_waits_on_the_screen_after_a_restart(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path, slow_engine())) as (pilot, screen):
        await say(pilot, screen, "Early words")
        await type_in(pilot, screen, *"half a")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not screen.app.is_running)
    async with running(make_runtime(tmp_path)) as (_, screen):
        bar = screen.query_one(QueueBar)
        assert bar.display
        assert "kept from last time" in str(bar.visual)
        assert "Early words" in str(bar.visual)
        assert screen.prompt.text == "half a"
        assert engine_of(screen).streams == []
