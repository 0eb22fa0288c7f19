"""The memory screen and its slash command: looking, correcting, forgetting, staying off the record."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

from chat_tests.recall.memory_kit import DOG, TEA, remember
from chat_tests.tui_kit import ask, engine_of, make_runtime, running, say, shown, toasts, type_in, until
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from memory import DiskFull, Forgotten, IndexState, IndexStatus, SessionRecord
from stevemin_chat.base.config import MemorySection
from stevemin_chat.tui.chat_screen import ChatScreen
from stevemin_chat.tui.screens.dialogs import Choose, Confirm, EditLine
from stevemin_chat.tui.screens.memory import MemoryScreen
from stevemin_chat.tui.screens.origin import OriginScreen
from stevemin_chat.tui.widgets.bands import Completions
from stevemin_chat.tui.widgets.memory_list import MemoryList


def items(screen: ChatScreen) -> list[str]:
    """What the list shows, headings included."""
    return [str(option.prompt) for option in screen.app.screen.query_one(MemoryList).options]


def line(screen: ChatScreen, id: str) -> str:
    return str(screen.app.screen.query_one(f"#{id}", Static).visual)


def on_top(screen: ChatScreen) -> bool:
    return isinstance(screen.app.screen, MemoryScreen)


async def look(pilot: Pilot[None], screen: ChatScreen) -> MemoryScreen:
    """Open the memory screen."""
    await pilot.press("f5")
    await until(pilot, lambda: on_top(screen) and items(screen))
    top = screen.app.screen
    assert isinstance(top, MemoryScreen)
    return top


async def confirm(pilot: Pilot[None], screen: ChatScreen, key: str) -> str:
    """Answer the question that is on the screen; returns it."""
    await until(pilot, lambda: isinstance(screen.app.screen, Confirm))
    question = str(screen.app.screen.query(Static).first().visual)
    await pilot.press(key)
    await until(pilot, lambda: not isinstance(screen.app.screen, Confirm))
    return question


async def exchange(pilot: Pilot[None], screen: ChatScreen, text: str, reply: str = "I see.") -> None:
    stream = await ask(pilot, screen, text)
    stream.push(reply)
    stream.end()
    await until(pilot, lambda: not screen.controller.chats.busy)


async def test_the_profile_is_listed_and_corrected(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    remember(runtime.memory)
    long_term = runtime.memory.long_term
    async with running(runtime) as (pilot, screen):
        await look(pilot, screen)
        assert items(screen) == [
            "Profile: 2 facts",
            f"{TEA}\npreference · Dinner · 2026-04-11",
            f"{DOG}\nfact · Pets at home · 2026-03-02",
        ]
        assert "remembering on" in line(screen, "states")
        assert "search by words" in line(screen, "states")
        await pilot.press("down", "p")
        await until(pilot, lambda: f"{DOG}\npinned · fact" in items(screen)[1])
        assert [fact.text for fact in long_term.facts()] == [DOG, TEA]
        await pilot.press("up", "e")
        await until(pilot, lambda: isinstance(screen.app.screen, EditLine))
        screen.app.screen.query_one(Input).value = "Rex is five\x07 [b]now"
        await pilot.press("enter")
        await until(pilot, lambda: "Rex is five [b]now\npinned · edited" in items(screen)[1])
        await pilot.press("a")
        await until(pilot, lambda: isinstance(screen.app.screen, EditLine))
        screen.app.screen.query_one(Input).value = "works on Tuesdays"
        await pilot.press("enter")
        await until(
            pilot, lambda: any("works on Tuesdays\nfact · written by you" in item for item in items(screen))
        )
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(screen.app.screen, OriginScreen))
        assert DOG in [str(text.visual) for text in screen.app.screen.query(".text.source").results(Static)]
        await pilot.press("escape", "f")
        question = await confirm(pilot, screen, "y")
        assert question == "Forget “Rex is five [b]now”? The message it comes from stays."
        await until(pilot, lambda: not any("Rex" in item for item in items(screen)))
        assert "Rex" not in str(long_term.facts())
        assert runtime.memory.search("Rex"), "the message is still remembered"


async def test_what_a_fact_names_is_followed_and_back(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    add = runtime.memory.long_term.add_fact
    add("Nobody knows it")
    work, ghent = add("I work in Ghent with Clara"), add("Ghent is where my sister lives")
    clara = add("Clara is my sister")
    async with running(runtime, size=(80, 24)) as (pilot, screen):
        top = await look(pilot, screen)
        await until(pilot, lambda: top.fact is not None)
        assert top.fact is not None
        assert top.fact.id == clara.id
        assert "n names" in line(screen, "keys")
        await pilot.press("n")
        await until(pilot, lambda: items(screen)[0].startswith("What this fact names"))
        shown_now = [item.strip().splitlines()[0] for item in items(screen)]
        assert shown_now[1:] == [
            clara.text, "sister: 1 other fact", ghent.text, "Clara: 1 other fact", work.text
        ]  # fmt: skip
        assert "esc goes back" in line(screen, "keys")
        await pilot.press("down", "n")
        await until(pilot, lambda: items(screen)[1].startswith(ghent.text))
        await pilot.press("down", "down", "f")
        await confirm(pilot, screen, "y")
        await until(pilot, lambda: "I work" not in str(items(screen)))
        await pilot.press("escape")
        await until(pilot, lambda: items(screen)[1].startswith(clara.text))
        assert top.fact is not None
        await until(pilot, lambda: top.fact is not None and top.fact.id == ghent.id)
        await pilot.press("escape")
        await until(pilot, lambda: items(screen)[0] == "Profile: 3 facts")
        await pilot.press("end")
        await until(pilot, lambda: top.fact is not None and not top.fact.entities)
        assert "names" not in line(screen, "keys")
        await pilot.press("n", "escape")
        await until(pilot, lambda: not on_top(screen))


async def test_a_search_finds_facts_and_what_was_said(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    ids = remember(runtime.memory)
    async with running(runtime) as (pilot, screen):
        await say(pilot, screen, "/memory search thunder")
        await until(
            pilot, lambda: isinstance(screen.app.screen, MemoryScreen) and "Messages" in str(items(screen))
        )
        found = items(screen)
        assert found[:2] == ["Profile: 1 fact", f"{DOG}\nfact · Pets at home · 2026-03-02"]
        score = runtime.memory.search("thunder")[0].score
        assert f"{DOG}\nyou · Pets at home · 2026-03-02 · score {score:.1f}" in found
        assert any("\nassistant · Pets at home" in item for item in found)
        await pilot.press("slash")
        assert "goes to the list" in line(screen, "keys")
        screen.app.screen.query_one(Input).value = "zebra"
        await until(pilot, lambda: items(screen) == ["No message matches."])
        screen.app.screen.query_one(Input).value = "mint"
        await until(pilot, lambda: any("mint leaves" in item for item in items(screen)))
        await pilot.press("enter")
        await until(pilot, lambda: "f forget" in line(screen, "keys"))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(screen.app.screen, OriginScreen))
        await pilot.press("enter")
        await until(pilot, lambda: screen.controller.chat and screen.controller.chat.title == "Dinner")
        await until(pilot, lambda: screen.query(".-marked"))
        assert screen.query(".-marked").first().entry.message_id == ids["mint"]  # type: ignore[attr-defined]


async def test_a_forgotten_exchange_leaves_no_trace_on_the_screen(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        await exchange(pilot, screen, "I live in Zanzibar.", "Zanzibar is warm.")
        await exchange(pilot, screen, "And what is on tonight?")
        await pilot.press("ctrl+n")
        await exchange(pilot, screen, "Do you remember where I live?")
        asked = screen.controller.chat
        assert asked is not None
        assert asked.last_context is not None
        assert any("Zanzibar" in recall.text for recall in asked.last_context.recalls)
        await pilot.press("alt+down")
        await until(pilot, lambda: "Zanzibar is warm." in shown(screen))
        chat = screen.controller.chat
        assert chat is not None
        assert chat.record is not None
        await pilot.press("up", "up")
        assert screen.prompt.text == "I live in Zanzibar."
        await until(pilot, lambda: chat.draft == "I live in Zanzibar.")
        forgotten_so_far = len(engine_of(screen).forgotten)
        await look(pilot, screen)
        await pilot.press("slash")
        screen.app.screen.query_one(Input).value = "Zanzibar"
        await pilot.press("enter", "down")
        await until(pilot, lambda: "f forget" in line(screen, "keys") and "edit" not in line(screen, "keys"))
        await pilot.press("f")
        assert "(you, " in await confirm(pilot, screen, "n")
        assert runtime.memory.search("Zanzibar")
        await pilot.press("f")
        question = await confirm(pilot, screen, "y")
        assert "and the answer to it? Derived from it and deleted, too: 1 fact." in question
        await until(pilot, lambda: items(screen) == ["No message matches."])
        await pilot.press("escape")
        await until(pilot, lambda: screen.app.screen is screen)
        said = shown(screen)
        assert "Zanzibar" not in said
        assert said.count("(forgotten)") == 2
        assert said.index("(forgotten)") < said.index("And what is on tonight?"), "in its place"
        assert chat.title == "And what is on tonight?"
        assert screen.prompt.text == ""
        await pilot.press("up", "up")
        assert screen.prompt.text == "And what is on tonight?", "there is nothing before it any more"
        assert asked.last_context is None
        assert asked.record is not None
        assert set(engine_of(screen).forgotten[forgotten_so_far:]) == {chat.record.id, asked.record.id}
        assert "Zanzibar" not in str(runtime.memory.sessions())


async def test_the_last_exchange_is_forgotten_and_not_while_it_is_answered(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        await say(pilot, screen, "/memory forget")
        await until(pilot, lambda: "There is nothing to forget in this chat." in toasts(screen))
        await exchange(pilot, screen, "First")
        stream = await ask(pilot, screen, "Second")
        stream.push("on its way")
        await until(pilot, lambda: "on its way" in shown(screen))
        await say(pilot, screen, "/memory forget")
        await confirm(pilot, screen, "y")
        await until(pilot, lambda: any("is still answering. Stop it" in text for text in toasts(screen)))
        stream.end()
        await until(pilot, lambda: not screen.controller.chats.busy)
        await say(pilot, screen, "/memory forget")
        assert "“Second”" in await confirm(pilot, screen, "y")
        await until(pilot, lambda: any(text.startswith("Forgotten: 2 messages") for text in toasts(screen)))
        assert "First" in shown(screen)
        assert "Second" not in shown(screen)
        assert screen.controller.chat is not None
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "There is nothing to answer yet." in toasts(screen))


async def test_forgetting_is_seen_and_ends_before_the_screen_closes(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    remember(runtime.memory)
    go_on, forget = Event(), runtime.memory.long_term.forget

    def slowly(message_ids: Any) -> Forgotten:
        go_on.wait(10)
        return forget(message_ids)

    runtime.memory.long_term.forget = slowly  # type: ignore[method-assign]
    async with running(runtime) as (pilot, screen):
        await say(pilot, screen, "/memory search mint")
        await until(
            pilot, lambda: isinstance(screen.app.screen, MemoryScreen) and "Messages" in str(items(screen))
        )
        await pilot.press("f")
        await confirm(pilot, screen, "y")
        await until(pilot, lambda: "forgetting …" in line(screen, "states"))
        await pilot.press("escape", "x")
        assert isinstance(screen.app.screen, MemoryScreen), "still there, and asks nothing else"
        go_on.set()
        await until(pilot, lambda: "forgetting …" not in line(screen, "states"))
        await until(pilot, lambda: "mint" not in str(items(screen)))
        await pilot.press("escape")
        assert screen.app.screen is screen


async def test_a_chat_is_off_the_record_from_its_first_message_on(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    configure, failures = runtime.memory.set_session, [DiskFull(tmp_path)]

    def fail_once(*args: Any, **settings: Any) -> SessionRecord:
        if failures:
            raise failures.pop()
        return configure(*args, **settings)

    async with running(runtime, (120, 30)) as (pilot, screen):
        await say(pilot, screen, "/memory off")
        await until(pilot, lambda: any("Off the record" in text for text in toasts(screen)))
        assert line(screen, "title") == "New chat · off the record"
        runtime.memory.set_session = fail_once  # type: ignore[method-assign]
        await say(pilot, screen, "I live in Zanzibar.")
        await until(pilot, lambda: screen.prompt.text == "I live in Zanzibar.")
        assert not engine_of(screen).streams, "not sent while it would be remembered"
        await exchange(pilot, screen, "I live in Zanzibar.")
        record = runtime.memory.sessions()[0]
        assert record.off_record
        assert not runtime.memory.search("Zanzibar")
        assert not runtime.memory.long_term.facts()
        assert "⊘" in str(screen.query_one("#chats", OptionList).options[0].prompt)
        await say(pilot, screen, "/memory on")
        await until(pilot, lambda: runtime.memory.search("Zanzibar"))
        await until(pilot, lambda: "off the record" not in line(screen, "title"))
        await look(pilot, screen)
        await pilot.press("o")
        question = await confirm(pilot, screen, "n")
        assert question.startswith("Take this chat off the record? 1 fact of your profile comes from it")
        assert runtime.memory.long_term.facts()
        await pilot.press("o")
        await confirm(pilot, screen, "y")
        await until(pilot, lambda: "off the record" in line(screen, "states"))
        assert not runtime.memory.search("Zanzibar")
        assert len(items(screen)) == 1


async def test_how_far_memory_reaches_is_chosen(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        await say(pilot, screen, "/memory scope project")
        await until(pilot, lambda: any("Memory reaches this project" in text for text in toasts(screen)))
        await exchange(pilot, screen, "Hello")
        assert runtime.memory.sessions()[0].scope == "project"
        await look(pilot, screen)
        assert "reaches this project" in line(screen, "states")
        await pilot.press("c")
        await until(pilot, lambda: isinstance(screen.app.screen, Choose))
        await pilot.press("down", "enter")
        await until(pilot, lambda: runtime.memory.sessions()[0].scope == "session")


async def test_subcommands_are_checked_and_completed(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        for typed, told in (
            ("serach dog", "There is no /memory serach. Did you mean /memory search?"),
            ("xyz", "There is no /memory xyz. Known: search, forget, off, on, scope, add."),
            ("off now", "/memory off takes no argument."),
            ("add", "/memory add needs a text."),
            ("scope moon", "There is no scope moon. Known: everywhere, project, session."),
        ):
            screen.prompt.put(f"/memory {typed}")
            await pilot.press("escape", "enter")
            await until(pilot, lambda told=told: told in toasts(screen))  # type: ignore[misc]
        assert isinstance(screen.app.screen, ChatScreen)
        offered = screen.query_one(Completions)
        screen.prompt.put("/memory ")
        await until(pilot, lambda: offered.display)
        ids = [option.id for option in offered.options]
        assert ids[:4] == ["/memory search ", "/memory forget", "/memory off", "/memory on"]
        assert "/memory scope project" in ids
        screen.prompt.put("/memory a")
        await until(pilot, lambda: [option.id for option in offered.options] == ["/memory add "])
        await type_in(pilot, screen, "tab", *"likes tea")
        assert screen.prompt.text == "/memory add likes tea"
        await until(pilot, lambda: not offered.display)
        await pilot.press("enter")
        await until(pilot, lambda: [fact.text for fact in runtime.memory.long_term.facts()] == ["likes tea"])


async def test_the_status_line_tells_what_memory_does(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    status = IndexStatus(IndexState.INDEXING, 120, 1000)
    runtime.memory.index_status = lambda: status  # type: ignore[method-assign]
    async with running(runtime, (120, 30)) as (pilot, screen):
        await until(pilot, lambda: "indexing 12%" in line(screen, "status"))
        status = IndexStatus(IndexState.INDEXING, 999, 1000)
        screen.poll()
        await pilot.pause()
        assert "indexing" not in line(screen, "status"), "a message or two are not worth a word"
        status = IndexStatus(IndexState.UNAVAILABLE, reason="Another stevemin has the vector index.")
        screen.poll()
        screen.poll()
        await pilot.pause()
        assert toasts(screen).count("Another stevemin has the vector index.") == 1
        await look(pilot, screen)
        assert "search by words only: Another stevemin has the vector index." in line(screen, "states")
        await pilot.press("x")
        assert "in all chats?" in await confirm(pilot, screen, "y")
        await until(pilot, lambda: "remembering off" in line(screen, "states"))
        assert not runtime.memory.long_term.remembering
        screen.poll()
        await pilot.pause()
        assert "not remembering" in str(screen.query_one("#status", Static).visual)
        await pilot.press("x")
        await until(pilot, lambda: runtime.memory.long_term.remembering)
        screen.controller.remembering._settings = MemorySection(enabled=False)
        await pilot.press("x")
        await until(pilot, lambda: any("[memory] enabled" in text for text in toasts(screen)))
        assert runtime.memory.long_term.remembering, "the settings are not argued with"
