"""What the screen looks like, at two terminal sizes; with clock, stats and cursor frozen.

After a wanted change: pytest --snapshot-update tests/chat_tests/tui/test_snapshots.py; then look at the SVGs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from chat_tests.recall.memory_kit import CALM, DOG, TEA, remember
from chat_tests.tui_kit import (
    FakeDevices,
    app_over,
    ask,
    busy_stats,
    engine_of,
    make_runtime,
    say,
    shown,
    until,
)
from textual.pilot import Pilot

from memory import ContextReport, Dropped, Fact, LayerReport, Recall
from stevemin_chat.recall.lookup import Account
from stevemin_chat.tui.chat_screen import ChatScreen
from stevemin_chat.tui.screens.context import ContextScreen, RecallView
from stevemin_chat.tui.screens.memory import MemoryScreen
from stevemin_chat.tui.widgets.memory_list import MemoryList
from stevemin_chat.tui.widgets.metrics_panel import MetricsPanel
from stevemin_chat.tui.widgets.session_list import SessionList

SIZES = [(80, 24), (160, 50)]
REPLY = """\
A **key-value cache** keeps what attention has computed, so a new token costs one row.

```python
def attend(query, cache):
    \"\"\"One row of attention.\"\"\"
    return softmax(query @ cache.keys) @ cache.values
```

1. The prompt is read once.
2. Each token adds one cell.
"""

# Set when the session starts; conftest's clean environment takes it away.
_REPORT = os.environ.get("TEXTUAL_SNAPSHOT_TEMPDIR", "")

Compare = Callable[..., bool]
Scene = Callable[[Pilot[None], ChatScreen], Awaitable[None]]


async def first_start(pilot: Pilot[None], screen: ChatScreen) -> None:
    assert "Type a message below" in shown(screen)


async def a_reply(pilot: Pilot[None], screen: ChatScreen) -> None:
    stream = await ask(pilot, screen, "What is a KV cache?")
    stream.push(REPLY)
    stream.end()
    await until(pilot, lambda: "cached" in shown(screen))


async def several_chats(pilot: Pilot[None], screen: ChatScreen) -> None:
    await a_reply(pilot, screen)
    for question in ("Plan a week of dinners", "Translate a poem", "Explain sliding windows"):
        await pilot.press("ctrl+n")
        stream = await ask(pilot, screen, question)
        stream.push("Monday: a risotto with peas and lemon.")
        await until(pilot, lambda: "risotto" in shown(screen))
    await say(pilot, screen, "And this one waits")
    done = engine_of(screen).streams[2]
    done.end()
    await until(pilot, lambda: len(screen.controller.chats.busy) == 2)
    ids = [chat.record.id for chat in screen.controller.chats.all if chat.record]
    engine_of(screen).stats_now = busy_stats(*ids[:3])
    if screen.size.width < 100:
        await pilot.press("ctrl+l")


async def help_screen(pilot: Pilot[None], screen: ChatScreen) -> None:
    await pilot.press("f1")
    await pilot.pause()


async def half_a_command(pilot: Pilot[None], screen: ChatScreen) -> None:
    await pilot.press("/", "c")
    await pilot.pause()


async def what_the_model_saw(pilot: Pilot[None], screen: ChatScreen) -> None:
    screen.app.push_screen(
        ContextScreen(
            an_account(),
            title="Gardening",
            strategy="hierarchical",
            show_origin=screen.controller.memory.show_origin,
            now=datetime(2026, 11, 20, 12, tzinfo=UTC),
        )
    )
    await until(pilot, lambda: isinstance(screen.app.focused, RecallView))


async def what_is_remembered(pilot: Pilot[None], screen: ChatScreen) -> None:
    remember(screen.controller.runtime.memory)
    await pilot.press("f5")
    await until(pilot, lambda: isinstance(screen.app.screen, MemoryScreen))
    await until(pilot, lambda: screen.app.screen.query_one(MemoryList).option_count == 3)


TOLD_AT = "2026-04-11T18:40:00+00:00"


def an_account() -> Account:
    """Of a prompt in which every layer has something."""
    recalls = (
        Recall("a", 8.4, 24, "pets", "user", "2026-03-02T09:12:00+00:00", DOG, signals={"words": 1.0}),
        Recall(
            "b", 7.1, 19, "pets", "assistant", "2026-03-02T09:13:00+00:00", CALM, signals={"meaning": 1.0}
        ),
    )
    sizes = {"system": 14, "profile": 31, "summary": 120, "history": 760, "memories": 64, "question": 22}
    layers = [LayerReport(name, tokens, 8) for name, tokens in sizes.items()]
    report = ContextReport(
        strategy="hierarchical",
        budget_tokens=1536,
        reply_tokens=512,
        tokens=1043,
        layers=(*layers, LayerReport("template", 32, 0)),
        sent=(),
        dropped=(
            *[Dropped("c", "user", 40, "summarised")] * 8,
            Dropped("d", "assistant", 95, "does not fit"),
        ),
        recalls=recalls,
        notice="1 older message left out (prompt limit 1,536 tokens).",
        dropped_recalls=(Dropped("e", "user", 31, "no room", 2.5),),
    )
    facts = (Fact(1, TEA, "preference", ("f",), True, False, TOLD_AT, TOLD_AT),)
    return Account(report, {"pets": "Pets at home"}, facts, ())


def still(scene: Scene) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Play a scene, then stop what moves by itself."""

    async def run(pilot: Pilot[None]) -> None:
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await until(pilot, lambda: screen.attached and screen.controller.runtime.engine is not None)
        screen.prompt.cursor_blink = False
        await scene(pilot, screen)
        panel, sessions = screen.query_one(MetricsPanel), screen.query_one(SessionList)
        panel._rates.extend(60 + 30 * math.sin(step / 5) for step in range(120))
        screen.controller.reading = FakeDevices().read()
        screen.poll_timer.stop()
        sessions.freeze()
        panel.note = lambda stats: None  # type: ignore[method-assign]
        screen.poll()
        await pilot.pause()
        await until(pilot, lambda: not screen._tidying)

    return run


@pytest.fixture(autouse=True)
def _report_folder(stevemin_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUAL_SNAPSHOT_TEMPDIR", _REPORT)


SCENES = [
    first_start,
    a_reply,
    several_chats,
    help_screen,
    half_a_command,
    what_the_model_saw,
    what_is_remembered,
]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_looks(tmp_path: Path, snap_compare: Compare, scene: Scene, size: tuple[int, int]) -> None:
    runtime = make_runtime(tmp_path)
    app = app_over(runtime)
    try:
        assert snap_compare(app, terminal_size=size, run_before=still(scene))
    finally:
        runtime.memory.close()
