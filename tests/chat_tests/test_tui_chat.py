from __future__ import annotations

from pathlib import Path

import pytest

from chat_tests.tui_kit import FakeEngine, ask, engine_of, make_runtime, running, say, shown, until


async def test_a_reply_streams_and_is_kept(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    async with running(runtime) as (pilot, screen):
        assert "Type a message below" in shown(screen)
        stream = await ask(pilot, screen, "Hello there")
        stream.push("One **two** ")
        await until(pilot, lambda: "One two" in shown(screen))
        stream.push("three")
        stream.end()
        await until(pilot, lambda: "One two three" in shown(screen) and "3 tokens" in shown(screen))
        assert "Type a message below" not in shown(screen)
        assert screen.chat is not None
        assert screen.chat.title == "Hello there"
        record = runtime.memory.sessions()[0]
        assert [m.content for m in runtime.memory.messages(record.id)] == ["Hello there", "One **two** three"]
