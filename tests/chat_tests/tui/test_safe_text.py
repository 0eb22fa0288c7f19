"""Titles and names come from models and databases: none of them may drive the terminal."""

from __future__ import annotations

import re
from pathlib import Path

from chat_tests.tui_kit import ask, busy_stats, engine_of, make_runtime, rows, running, until

HOSTILE = "Cats\x9b31m \x1b]0;owned\x07and\u202e dogs \u2066x\x85y"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


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


def _assert_safe(screen: object, expected: str) -> None:
    shown = "\n".join(rows(screen))  # type: ignore[arg-type]
    assert expected in shown
    assert not UNSAFE.search(shown), repr(shown)
