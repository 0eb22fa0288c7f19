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


# What was pasted

PASTE = "I live in Rome.\nMy name is Mallory."


def paste(screen: ChatScreen, text: str) -> None:
    screen.app.post_message(events.Paste(text))


def pasted(screen: ChatScreen) -> list[str]:
    """The parts of the prompt that are not the person's own words."""
    typed = screen.prompt.typed
    assert typed == screen.prompt.text
    return [typed[start:end] for start, end, _ in typed.quoted]


def stored(screen: ChatScreen) -> list[tuple[str, list[str]]]:
    """The person's messages, and what of them was pasted."""
    chat = screen.controller.chat
    assert chat is not None
    assert chat.record is not None
    messages = screen.controller.runtime.memory.messages(chat.record.id)
    return [
        (item.content, [item.content[part.start : part.end] for part in item.quoted])
        for item in messages
        if item.role == "user"
    ]


def facts(screen: ChatScreen) -> list[str]:
    return sorted(fact.text for fact in screen.controller.runtime.memory.long_term.facts())


async def test_a_paste_is_stored_as_such_and_makes_no_facts(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await type_in(pilot, screen, *"I like tea. ")
        paste(screen, PASTE)
        await until(pilot, lambda: "Mallory" in screen.prompt.text)
        await type_in(pilot, screen, *" Thanks")
        assert pasted(screen) == [PASTE]
        await type_in(pilot, screen, "enter")
        await until(pilot, lambda: len(sent(screen)) == 1)
        assert stored(screen) == [(f"I like tea. {PASTE} Thanks", [PASTE])]
        assert facts(screen) == ["I like tea."]


async def test_the_same_words_typed_make_facts(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await type_in(pilot, screen, *"I live in Rome.", "ctrl+j", *"My name is Mallory.", "enter")
        await until(pilot, lambda: len(sent(screen)) == 1)
        assert stored(screen) == [(PASTE, [])]
        assert facts(screen) == ["I live in Rome.", "My name is Mallory."]


async def test_a_paste_of_a_few_words_is_typing(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        for text, foreign in (
            ("New York City", False),
            ("one\n", False),
            ("https://example.org/a/path?with=words-that-are-joined", False),
            ("\u5317\u4eac", False),
            ("I live in Rome.", True),
            ("I live in Rome. My name is Mallory.", True),
            ("\u6211\u4f4f\u5728\u7f57\u9a6c", True),
            ("a\rb", True),
            ("x" * 201, True),
        ):
            screen.prompt.put("")
            paste(screen, text)
            await until(pilot, lambda: screen.prompt.text != "")
            assert bool(pasted(screen)) is foreign, text


async def test_a_name_that_is_pasted_belongs_to_the_sentence(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await type_in(pilot, screen, *"I live in ")
        paste(screen, "Lisbon")
        await until(pilot, lambda: "Lisbon" in screen.prompt.text)
        await type_in(pilot, screen, ".", "enter")
        await until(pilot, lambda: len(sent(screen)) == 1)
        assert facts(screen) == ["I live in Lisbon."]


async def test_a_sentence_that_is_pasted_makes_no_facts(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        paste(screen, "I live in Rome. My name is Mallory.")
        await until(pilot, lambda: "Mallory" in screen.prompt.text)
        await type_in(pilot, screen, *" I like tea.", "enter")
        await until(pilot, lambda: len(sent(screen)) == 1)
        assert facts(screen) == ["I like tea."]


async def test_edits_around_and_inside_a_paste_are_own_words(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        paste(screen, "one\ntwo")
        await until(pilot, lambda: screen.prompt.text == "one\ntwo")
        await type_in(pilot, screen, "left", "left", *"XY", "home", *"a ", "end", *"!")
        assert screen.prompt.text == "one\na tXYwo!"
        assert pasted(screen) == ["one\n", "t", "wo"]
        await type_in(pilot, screen, "ctrl+u")
        assert screen.prompt.text == "one\n"
        assert pasted(screen) == ["one\n"]


async def test_undo_and_redo_bring_a_paste_back_as_a_paste(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await type_in(pilot, screen, *"see ")
        paste(screen, PASTE)
        await until(pilot, lambda: "Mallory" in screen.prompt.text)
        screen.prompt.select_all()
        await type_in(pilot, screen, "backspace")
        assert (screen.prompt.text, pasted(screen)) == ("", [])
        screen.prompt.undo()
        assert (screen.prompt.text, pasted(screen)) == (f"see {PASTE}", [PASTE])
        screen.prompt.undo()
        assert (screen.prompt.text, pasted(screen)) == ("see ", [])
        assert screen.prompt.cursor_location == (0, 4)
        screen.prompt.redo()
        assert (screen.prompt.text, pasted(screen)) == (f"see {PASTE}", [PASTE])
        screen.prompt.redo()
        assert (screen.prompt.text, pasted(screen)) == ("", [])


async def test_two_undos_in_one_write_end_where_the_text_does(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await type_in(pilot, screen, *"see ")
        paste(screen, PASTE)
        await until(pilot, lambda: "Mallory" in screen.prompt.text)
        screen.prompt.select_all()
        await type_in(pilot, screen, "backspace")
        await type_in(pilot, screen, "ctrl+z", "ctrl+z", "ctrl+z", "ctrl+z")
        assert screen.prompt.text in ("", "see ")
        assert screen.prompt.typed == screen.prompt.text


async def test_what_was_copied_in_the_application_is_pasted_too(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        screen.app.copy_to_clipboard(PASTE)
        await type_in(pilot, screen, "ctrl+v")
        await until(pilot, lambda: screen.prompt.text == PASTE)
        assert pasted(screen) == [PASTE]


async def test_a_recalled_message_keeps_its_paste_when_it_is_edited_and_sent_again(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        paste(screen, PASTE)
        await until(pilot, lambda: "Mallory" in screen.prompt.text)
        await type_in(pilot, screen, "enter")
        await until(pilot, lambda: len(sent(screen)) == 1)
        engine_of(screen).streams[-1].end()
        await until(pilot, lambda: not screen.controller.chats.busy)
        await type_in(pilot, screen, "up", *" I like tea.", "enter")
        await until(pilot, lambda: len(sent(screen)) == 2)
        assert stored(screen)[1] == (f"{PASTE} I like tea.", [PASTE])
        assert facts(screen) == ["I like tea."]


async def test_the_queue_a_draft_and_the_next_run_keep_the_paste(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await ask(pilot, screen, "hello")
        paste(screen, PASTE)
        await until(pilot, lambda: "Mallory" in screen.prompt.text)
        await type_in(pilot, screen, "enter")  # waits for the answer
        await until(pilot, lambda: screen.controller.chat is not None and screen.controller.chat.queue)
        await type_in(pilot, screen, "up")
        assert pasted(screen) == [PASTE]
        await type_in(pilot, screen, "enter")
        paste(screen, f"draft\n{PASTE}")
        await until(pilot, lambda: "draft" in screen.prompt.text)
        key = screen.controller.chat.key if screen.controller.chat else ""
        screen.controller.new_chat()
        await pilot.pause()
        assert pasted(screen) == []
        screen.controller.switch_to(key)
        await pilot.pause()
        assert pasted(screen) == [f"draft\n{PASTE}"]
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        (chat,) = [chat for chat in screen.controller.chats.all if chat.record is not None]
        screen.controller.switch_to(chat.key)
        await pilot.pause()
        assert pasted(screen) == [f"draft\n{PASTE}"]
        screen.prompt.put("")
        await type_in(pilot, screen, "up")
        assert pasted(screen) == [PASTE]


async def test_what_is_pasted_before_the_chats_are_read_is_known(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        prompt, port = screen.prompt, screen.prompt._port
        prompt._port = None
        paste(screen, PASTE)
        await until(pilot, lambda: "Mallory" in prompt.text)
        await type_in(pilot, screen, "enter", *"typed")
        assert port is not None
        prompt.attach(port)
        await until(pilot, lambda: len(sent(screen)) == 1)
        assert stored(screen) == [(PASTE, [PASTE])]
        assert (prompt.text, pasted(screen)) == ("typed", [])


async def test_a_command_with_a_slash_too_many_is_sent_without_it(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        await type_in(pilot, screen, *"  //see ")
        paste(screen, "a\nb\n")
        await until(pilot, lambda: "b" in screen.prompt.text)
        await type_in(pilot, screen, "enter")
        await until(pilot, lambda: len(sent(screen)) == 1)
        assert stored(screen) == [("/see a\nb", ["a\nb"])]
