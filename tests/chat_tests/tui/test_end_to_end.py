"""The whole path with the real starter model: prompt, store, context, engine, screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from chat_tests.tui_kit import app_over, say, shown, until

from engine import EngineStats
from stevemin_chat.base.config import Config, EngineSection, SamplingSection
from stevemin_chat.base.paths import Paths
from stevemin_chat.runtime import Runtime
from stevemin_chat.tui.chat_screen import ChatScreen

TIMEOUT_S = 120.0  # seconds; a busy machine is no failure


@asynccontextmanager
async def watching(runtime: Runtime) -> AsyncIterator[list[EngineStats]]:
    """Look at the engine often; the pilot only looks when the application rests."""
    seen: list[EngineStats] = []

    async def look() -> None:
        while True:
            if runtime.engine is not None:
                seen.append(runtime.engine.stats())
            await asyncio.sleep(0.01)

    task = asyncio.create_task(look())
    try:
        yield seen
    finally:
        task.cancel()


@pytest.mark.usefixtures("starter_model")
async def test_four_chats_stream_real_answers_at_once() -> None:
    config = Config(
        engine=EngineSection(context_tokens=4096, max_sessions=4),
        sampling=SamplingSection(temperature=0.0, max_tokens=48),
    )
    runtime = await Runtime.open(Paths.resolve(), config)
    app = app_over(runtime)
    try:
        async with app.run_test(size=(160, 50)) as pilot, watching(runtime) as seen:
            screen = app.screen
            assert isinstance(screen, ChatScreen)
            await until(pilot, lambda: screen.attached and runtime.engine is not None, TIMEOUT_S)
            await until(pilot, lambda: screen.controller.models.loading is None, TIMEOUT_S)
            engine = runtime.engine
            assert engine is not None
            await screen.controller.chats.pause()  # let all four start together
            for number, question in enumerate(
                ("Describe the sea.", "Describe a forest.", "Describe a desert.", "What is tea?")
            ):
                if number:
                    await pilot.press("ctrl+n")
                await say(pilot, screen, question)
            screen.controller.chats.resume()
            await until(
                pilot,
                lambda: engine.stats().requests_done == 4 and not screen.controller.chats.busy,
                TIMEOUT_S,
            )
            most = max(seen, key=lambda stats: stats.batch_sequences)
            assert most.batch_sequences == 4, "all four in one batch"
            replies = {chat.title: (chat.entries or [])[-1] for chat in screen.controller.chats.all}
            assert len(replies) == 4
            assert all(reply.text and reply.status == "complete" for reply in replies.values())
            first_word = replies["What is tea?"].text.split()[0]
            await until(pilot, lambda: first_word in shown(screen) and "tok/s" in shown(screen), TIMEOUT_S)
            for record in runtime.memory.sessions():
                stored = runtime.memory.messages(record.id)
                assert stored[-1].content.strip() == replies[record.title].text.strip()

            await say(pilot, screen, "And coffee?")
            await until(
                pilot,
                lambda: engine.stats().requests_done == 5 and not screen.controller.chats.busy,
                TIMEOUT_S,
            )
            entry = (screen.controller.chats.all[0].entries or [])[-1]
            assert entry.timings is not None
            history = entry.timings["prompt_tokens"] - entry.timings["cached_tokens"]
            assert history < 40, "the second turn reads only what is new"
    finally:
        await runtime.close()
