"""Titles and names come from models and databases: none of them may drive the terminal."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from unittest.mock import Mock

from chat_tests.tui_kit import ask, busy_stats, engine_of, make_runtime, rows, running, until
from rich.cells import cell_len
from textual.widgets import Markdown

from stevemin_chat.chats import Chats, Drafts
from stevemin_chat.tui.widgets.bands import Completions
from stevemin_chat.tui.widgets.transcript import Greeting

HOSTILE = "Cats\x9b31m \x1b]0;owned\x07and\u202e dogs \u2066x\x85y"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


async def test_a_hostile_title_is_harmless_wherever_it_is_shown(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path), (160, 50)) as (pilot, screen):
        stream = await ask(pilot, screen, "Hello")
        chat = screen.controller.chat
        assert chat is not None
        chat.title = HOSTILE
        assert chat.record is not None
        engine_of(screen).stats_now = busy_stats(chat.record.id)
        screen.poll()
        screen.show_chats(screen.controller.chats.all, chat)
        screen.show_state(chat, visible=True, queue_hint="")
        await pilot.pause()
        _assert_safe(screen.app.screen, "Cats")
        stream.end()
        await until(pilot, lambda: not chat.busy)
        chat.title = HOSTILE
        for key in ("f2", "f8", "f4"):
            await pilot.press(key)
            await until(pilot, lambda: screen.app.screen is not screen)
            _assert_safe(screen.app.screen, "Cats")
            await pilot.press("escape")
            await until(pilot, lambda: screen.app.screen is screen)


async def test_a_hostile_title_is_harmless_in_the_palette_and_among_the_completions(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path), (100, 30)) as (pilot, screen):
        stream = await ask(pilot, screen, "Hello")
        stream.end()
        chat = screen.controller.chat
        assert chat is not None
        await until(pilot, lambda: not chat.busy)
        chat.title = HOSTILE  # as a title that did not come through `Chats.load` would be
        await pilot.press(*"/switch ca")
        completions = screen.query_one(Completions)
        await until(pilot, lambda: completions.display)
        _assert_safe(screen, "Cats")
        screen.prompt.put("")
        await pilot.press("ctrl+p")
        await until(pilot, lambda: screen.app.screen is not screen)
        await pilot.press(*"cats")
        await until(pilot, lambda: any("Open this chat" in row for row in rows(screen.app.screen)))  # type: ignore[arg-type]
        _assert_safe(screen.app.screen, "Cats")


def test_stored_titles_are_cleaned_as_they_are_read(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    runtime.memory.create_session(HOSTILE)
    chats = Chats(runtime, Mock(), drafts=Drafts(tmp_path / "drafts.json"), explain=str)
    asyncio.run(chats.load())
    assert [UNSAFE.search(chat.title) for chat in chats.all] == [None]
    asyncio.run(runtime.close())


async def test_completions_are_as_wide_as_they_look(tmp_path: Path) -> None:
    """A character of two columns counts as two, so that the explanations stand below each other."""
    async with running(make_runtime(tmp_path), (100, 30)) as (pilot, screen):
        completions = screen.query_one(Completions)
        completions.offer([("a", "中文中文中文", "first"), ("b", "plain", "second")])
        await pilot.pause()
        starts = {
            cell_len(row[: row.index(word)])
            for row in rows(screen)
            for word in ("first", "second")
            if word in row
        }
        assert len(starts) == 1
        assert any("中文中文中文" in row for row in rows(screen))


async def test_character_references_in_a_reply_bring_nothing_in(tmp_path: Path) -> None:
    source = (
        'start &#x202E;evil &rlm;&#x2066; and &#x1b;[31m `&#x202E;` ![img &#x202E;](http://a.b "&#x202E;")'
    )
    async with running(make_runtime(tmp_path)) as (pilot, screen):
        stream = await ask(pilot, screen, "Hello")
        stream.push(source)
        stream.end()
        await until(pilot, lambda: any("evil" in row for row in rows(screen)))
        shown = "\n".join(rows(screen))
        assert not UNSAFE.search(shown), repr(shown)


def _assert_safe(screen: object, expected: str) -> None:
    shown = "\n".join(rows(screen))  # type: ignore[arg-type]
    assert expected in shown
    assert not UNSAFE.search(shown), repr(shown)


async def test_a_link_and_a_notice_are_harmless(tmp_path: Path) -> None:
    """Textual decodes what a link escapes with %, and writes titles of notices as they are."""
    async with running(make_runtime(tmp_path), (100, 30)) as (pilot, screen):
        copied: list[str] = []
        screen.copy = copied.append  # type: ignore[method-assign, assignment]
        href = "http://cats/%1b%5d0;owned%07%c2%9b31m%e2%80%ae"
        screen.post_message(Markdown.LinkClicked(Markdown(), href))
        screen.say(HOSTILE, HOSTILE, warn=True)
        await until(pilot, lambda: len(screen.app._notifications) == 2)
        await pilot.pause()
        _assert_safe(screen.app.screen, "Cats")
        assert [link.startswith("http://cats/") for link in copied] == [True]
        assert not UNSAFE.search(copied[0])


async def test_a_hostile_model_name_is_harmless_in_the_greeting(tmp_path: Path) -> None:
    async with running(make_runtime(tmp_path), (100, 30)) as (pilot, screen):
        await screen.transcript.mount(Greeting(HOSTILE))
        await pilot.pause()
        _assert_safe(screen, "Cats")
