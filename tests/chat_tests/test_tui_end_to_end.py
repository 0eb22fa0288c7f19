"""The whole path with the real starter model: prompt, store, context, engine, screen."""

from __future__ import annotations

from pathlib import Path

from chat_tests.tui_kit import FakeDevices, say, shown, until
from engine import EngineStats
from stevemin_chat.app import SteveminApp
from stevemin_chat.config import Config, EngineSection, SamplingSection
from stevemin_chat.paths import Paths
from stevemin_chat.screens.chat import ChatScreen
from stevemin_chat.wiring import Runtime

PATIENCE = 120.0  # seconds; a busy machine is no failure


async def test_four_chats_stream_real_answers_at_once(starter_model: Path) -> None:
    assert starter_model.is_file()
    config = Config(
        engine=EngineSection(context_tokens=4096, max_sessions=4),
        sampling=SamplingSection(temperature=0.0, max_tokens=48),
    )
    runtime = await Runtime.open(Paths.resolve(), config)
    app = SteveminApp(runtime, devices=FakeDevices())  # type: ignore[arg-type]
    most = EngineStats()
    try:
        async with app.run_test(size=(160, 50)) as pilot:
            screen = app.screen
            assert isinstance(screen, ChatScreen)
            await until(pilot, lambda: screen.chat is not None)
            for number, question in enumerate(
                ("Count to ten.", "Name a colour.", "Say hello.", "What is tea?")
            ):
                if number:
                    await pilot.press("ctrl+n")
                await say(pilot, screen, question)  # the first ones wait for the model
            await until(pilot, lambda: runtime.engine is not None, PATIENCE)
            engine = runtime.engine
            assert engine is not None

            def watch() -> bool:
                nonlocal most
                most = max(most, engine.stats(), key=lambda stats: stats.batch_sequences)
                return not screen.chats.busy and engine.stats().requests_done == 4

            await until(pilot, watch, PATIENCE)
            assert most.batch_sequences == 4, "all four in one batch"
            replies = {chat.title: (chat.entries or [])[-1] for chat in screen.chats.all}
            assert len(replies) == 4
            assert all(reply.text and reply.status == "complete" for reply in replies.values())
            assert replies["What is tea?"].text.split()[0] in shown(screen)
            assert "tok/s" in shown(screen)
            for record in runtime.memory.sessions():
                stored = runtime.memory.messages(record.id)
                assert stored[-1].content.strip() == replies[record.title].text.strip()

            await say(pilot, screen, "And coffee?")
            await until(pilot, lambda: engine.stats().requests_done == 5 and not screen.chats.busy, PATIENCE)
            entry = (screen.chats.all[0].entries or [])[-1]
            assert entry.timings is not None
            history = entry.timings["prompt_tokens"] - entry.timings["cached_tokens"]
            assert history < 40, "the second turn reads only what is new"
    finally:
        await runtime.close()
