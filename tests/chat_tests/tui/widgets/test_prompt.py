"""The prompt: lines, paste, recall, slash commands, completions, palette."""

from __future__ import annotations

from pathlib import Path

from chat_tests.tui_kit import (
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
from textual import events
from textual.command import CommandPalette
from textual.widgets import Input, OptionList

from stevemin_chat.tui.actions import COMMANDS
from stevemin_chat.tui.chat_screen import ChatScreen
from stevemin_chat.tui.palette import PaletteCommands
from stevemin_chat.tui.screens.help import HelpScreen
from stevemin_chat.tui.widgets.bands import Completions


def sent(screen: ChatScreen) -> list[str]:
    """What reached the engine."""
    return [stream.request.messages[-1].content for stream in engine_of(screen).streams]


async def test_enter_sends_and_other_keys_make_lines(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await type_in(pilot, screen, *"one", "ctrl+j", *"two", "shift+enter", *"three")
        assert screen.prompt.text == "one\ntwo\nthree"
        assert screen.prompt.size.height == 3
        await pilot.press("enter")
        await until(pilot, lambda: sent(screen) == ["one\ntwo\nthree"])
        assert screen.prompt.text == ""


async def test_paste_keeps_its_lines_and_does_not_send(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        screen.prompt.post_message(events.Paste("def f():\r    return 1\r\n\x1b[31mred\x1b[0m\n"))
        await until(pilot, lambda: "red" in screen.prompt.text)
        assert screen.prompt.text == "def f():\n    return 1\nred\n"
        assert sent(screen) == []
        screen.prompt.put("")
        screen.prompt.post_message(events.Paste("/etc/hosts is\na file"))
        await until(pilot, lambda: "a file" in screen.prompt.text)
        await pilot.press("enter")
        await until(pilot, lambda: sent(screen) == ["/etc/hosts is\na file"])


async def test_the_prompt_grows_to_eight_lines(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        screen.prompt.put("line\n" * 30)
        await pilot.pause()
        assert screen.prompt.size.height == 8


async def test_up_recalls_what_was_sent(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        for text in ("first", "second"):
            (await ask(pilot, screen, text)).end()
            await until(pilot, lambda: not screen.controller.chats.busy)
        await pilot.press("up")
        assert screen.prompt.text == "second"
        await pilot.press("up")
        assert screen.prompt.text == "first"
        await pilot.press("x", "up")
        assert screen.prompt.text == "firstx", "a text being edited is never replaced"


async def test_slash_commands_run_and_unknown_ones_keep_their_text(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await say(pilot, screen, "/help")
        await until(pilot, lambda: isinstance(screen.app.screen, HelpScreen))
        await pilot.press("escape")
        await say(pilot, screen, "/modle large")
        await until(pilot, lambda: any("Did you mean /model?" in text for text in toasts(screen)))
        assert screen.prompt.text == "/modle large"
        assert sent(screen) == []


async def test_texts_that_begin_with_a_slash_can_be_sent(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        for text in ("//help is a command", "/usr/bin/env python"):
            stream = await ask(pilot, screen, text)
            stream.push("Yes.")
            stream.end()
            await until(pilot, lambda: not screen.controller.chats.busy)
        assert sent(screen) == ["/help is a command", "/usr/bin/env python"]


async def test_completions_open_complete_and_close(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        offered = screen.query_one(Completions)
        await pilot.press("/", "c", "o")
        await until(pilot, lambda: offered.display)
        assert [option.id for option in offered.options] == ["/copy", "/context"]
        await pilot.press("down", "tab")
        assert screen.prompt.text == "/context"
        await pilot.press("space")
        await until(pilot, lambda: [option.id for option in offered.options][:1] == ["/context hierarchical"])
        await pilot.press("escape")
        assert not offered.display
        assert screen.prompt.text == "/context "
        await type_in(pilot, screen, *"fu")
        await until(pilot, lambda: offered.display)
        await pilot.press("enter")
        await until(pilot, lambda: screen.controller.strategy == "full")


async def test_enter_is_not_lost_when_it_comes_right_after_the_text(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        screen.prompt.put("/model ")
        await until(pilot, lambda: screen.prompt.completing)
        screen.prompt.put("/model /no/such.gguf")  # what offered completions a moment ago
        screen.prompt.post_message(events.Key("enter", None))
        await until(pilot, lambda: any("/no/such.gguf" in text for text in toasts(screen)))


async def test_enter_takes_an_exact_name_and_not_a_longer_one(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await type_in(pilot, screen, *"/theme ")
        await until(pilot, lambda: screen.prompt.completing)
        await type_in(pilot, screen, *"nord")
        await until(pilot, lambda: not screen.prompt.completing)
        await pilot.press("enter")
        await until(pilot, lambda: screen.app.theme == "nord")


async def test_the_palette_and_the_help_come_from_the_table(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path), (120, 60)) as (pilot, screen):
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(screen.app.screen, HelpScreen))
        words = {str(widget.visual).split()[0] for widget in screen.app.screen.query(".what")}  # type: ignore[attr-defined]
        assert {f"/{command.name}" for command in COMMANDS} <= words
        await pilot.press("ctrl+p")
        assert isinstance(screen.app.screen, HelpScreen), "its commands are the chat's"
        await pilot.press("escape")
        palette = PaletteCommands(screen)
        assert [hit.text async for hit in palette.discover()] == [command.title for command in COMMANDS]
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(screen.app.screen, CommandPalette))
        screen.app.screen.query_one(Input).value = "the stats"
        await until(pilot, lambda: screen.app.screen.query_one(OptionList).option_count == 1)
        shown_before = screen.query_one("#metrics").display
        await pilot.press("enter")
        await until(pilot, lambda: screen.query_one("#metrics").display != shown_before)


async def test_a_system_prompt_and_a_strategy_are_set_before_the_first_message(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await say(pilot, screen, "/system Answer in\none line.")
        await until(pilot, lambda: any("System prompt set" in text for text in toasts(screen)))
        stream = await ask(pilot, screen, "Hello")
        assert [m.content for m in stream.request.messages] == ["Answer in\none line.", "Hello"]
        await say(pilot, screen, "/context nonsense")
        await until(pilot, lambda: any("nonsense" in text for text in toasts(screen)))


async def test_copy_takes_the_answer_or_its_code(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "Code please")
        stream.push("Here:\n\n```python\nprint(1)\n```\n")
        stream.end()
        await until(pilot, lambda: not screen.controller.chats.busy)
        await say(pilot, screen, "/copy code")
        await until(pilot, lambda: screen.app.clipboard == "print(1)\n")
        await say(pilot, screen, "/copy")
        await until(pilot, lambda: screen.app.clipboard.startswith("Here:"))


async def test_typing_stays_possible_while_a_model_answers(tmp_path: Path) -> None:
    class Instant(FakeEngine):
        script = ("All ", "at ", "once.")

    async with running(make_runtime(tmp_path, Instant)) as (pilot, screen):
        await say(pilot, screen, "Quick")
        await type_in(pilot, screen, *"next")
        await until(pilot, lambda: "All at once." in shown(screen))
        assert screen.prompt.text == "next"
