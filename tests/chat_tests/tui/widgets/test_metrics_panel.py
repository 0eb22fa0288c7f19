"""The stats beside the chat: a row is there while it has something to show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from chat_tests.tui_kit import busy_stats, engine_of, make_runtime, rows, running

from engine import EngineStats

STATS = busy_stats()
QUIET = EngineStats(max_sessions=8)


@pytest.mark.parametrize(
    ("stats", "there", "absent"),
    [
        (
            STATS,
            ["speculation hits 62%", "engine overhead 0.6%", "paused 1", "parked chats 12, 3 on disk"],
            [],
        ),
        (replace(STATS, parked_on_disk=0), ["parked chats 12"], ["on disk"]),
        (replace(STATS, accepted_tokens=0), ["speculation hits 0%"], []),
        (QUIET, ["sequences 0 of 8"], ["speculation", "overhead", "paused", "parked"]),
    ],
    ids=["all", "none on disk", "never right", "quiet"],
)
async def test_seldom_rows_are_there_when_they_say_something(
    tmp_path: Path, stats: EngineStats, there: list[str], absent: list[str]
) -> None:
    async with running(make_runtime(tmp_path), (160, 50)) as (pilot, screen):
        engine_of(screen).stats_now = stats
        screen.poll()
        await pilot.pause()
        shown = " ".join(" ".join(rows(screen)).split())
        assert [words for words in there if words not in shown] == []
        assert [words for words in absent if words in shown] == []
