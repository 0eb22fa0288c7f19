"""Summaries while the person does nothing: what ends them, and one by the real starter model."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chat_tests.chats.session_kit import read
from chat_tests.tui_kit import FakeStream, engine_of, make_runtime, running, until

from engine import Priority
from memory import Memory, SessionRecord
from memory.text.quoting import quoted
from stevemin_chat.base.config import Config, EngineSection, MemorySection, SamplingSection
from stevemin_chat.base.paths import Paths
from stevemin_chat.recall import Consolidating
from stevemin_chat.runtime import Runtime

TIMEOUT_S = 60.0  # seconds; a busy machine is no failure

TALK = (
    ("I want to sail from Kiel to Gotland in June with my sister Anna.", "That is about 250 sea miles."),
    ("Our boat is a Folkeboot from 1968, eight metres long.", "A seaworthy boat, though slow."),
    ("Anna gets seasick, so we plan legs of six hours at most.", "Then Bornholm is a good place to rest."),
    ("We need new sails, the old ones are torn. We have 3,000 euros.", "Ask two sailmakers by March."),
    ("The sailmaker in Flensburg wants 2,400 euros and six weeks.", "That fits into your budget."),
    ("Visby has a medieval wall that I would like to draw.", "Take a waterproof sketchbook along."),
    ("Anna must be back at her school in Hamburg on 1 July.", "Then plan three days in reserve."),
    ("I have a radio licence, but our radio is broken.", "A handheld one does for the Baltic."),
)
SENTENCE = " The wind is mostly from the west in June, and the sea is calm."


def long_chat(memory: Memory, sentences: int) -> SessionRecord:
    """A chat of eight exchanges, with n sentences in each answer."""
    record = memory.create_session("Sailing")
    for said, answered in TALK:
        memory.add_message(record.id, "user", said)
        memory.add_message(record.id, "assistant", answered + SENTENCE * sentences)
    return memory.session(record.id)


def _asked(stream: FakeStream) -> str:
    return stream.request.messages[0].content


async def test_a_key_or_a_request_ends_it_and_it_begins_again(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, memory=MemorySection())
    record = long_chat(runtime.memory, 7)
    async with running(runtime) as (pilot, screen):
        consolidating = screen.controller.consolidating
        consolidating.pause_s = 0.05
        streams: list[FakeStream] = engine_of(screen).streams
        await pilot.press("a")
        await until(pilot, lambda: len(streams) == 1)
        assert streams[0].request.priority is Priority.BACKGROUND
        assert consolidating.summarising == record.id
        await pilot.press("b")
        await until(pilot, lambda: streams[0].cancelled)
        await until(pilot, lambda: len(streams) == 2)
        screen.controller.chats.answers.enqueue(
            screen.controller.chats.new(), "Hello?"
        )  # as the queue does, without a key
        await until(pilot, lambda: streams[1].cancelled and len(streams) == 3)
        assert streams[2].request.priority is Priority.NORMAL
        streams[2].end()
        await until(pilot, lambda: len(streams) == 4)
        streams[3].push("The user wants to sail from Kiel to Gotland with Anna in June.")
        streams[3].end()
        await until(pilot, lambda: consolidating.summarising is None)
    assert all(stream.done for stream in streams)


async def test_when_something_is_forgotten_its_summary_is_made_anew(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, memory=MemorySection())
    record = long_chat(runtime.memory, 7)
    async with running(runtime) as (pilot, screen):
        screen.controller.consolidating.pause_s = 0.05
        engine = engine_of(screen)
        engine.script = ["The user plans to sail to Gotland in June."]
        await pilot.press("a")
        await until(pilot, lambda: engine.streams and screen.controller.consolidating.summarising is None)
        first = _asked(engine.streams[0])
        assert "to Gotland" in first
        assert "Folkeboot" in first
        before = len(engine.streams)
        await screen.controller.remembering.forget([runtime.memory.messages(record.id)[0].id])
        await until(pilot, lambda: any("Folkeboot" in _asked(stream) for stream in engine.streams[before:]))
        assert not any("to Gotland" in _asked(stream) for stream in engine.streams[before:])


@pytest.mark.parametrize("keys", [(), ("ctrl+q",)])
async def test_leaving_ends_it(tmp_path: Path, keys: tuple[str, ...]) -> None:
    runtime = make_runtime(tmp_path, memory=MemorySection())
    long_chat(runtime.memory, 7)
    async with running(runtime) as (pilot, screen):
        screen.controller.consolidating.pause_s = 0.05
        await pilot.press("a")
        streams = engine_of(screen).streams
        await until(pilot, lambda: streams)
        await pilot.press(*keys)
    assert all(stream.cancelled for stream in streams)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "consolidating"]


async def test_the_settings_can_turn_it_off(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, memory=MemorySection(summaries=False, facts_by_model="off"))
    async with running(runtime) as (_, screen):
        assert screen.controller.consolidating._task is None


async def test_without_summaries_a_model_may_still_look_for_facts(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, memory=MemorySection(summaries=False))
    async with running(runtime) as (_, screen):
        assert screen.controller.consolidating._task is not None


@pytest.mark.usefixtures("starter_model")
async def test_the_starter_model_sums_up_what_will_leave_the_prompt() -> None:
    config = Config(
        engine=EngineSection(context_tokens=768, batch_tokens=256, max_sessions=2),
        sampling=SamplingSection(temperature=0.0, max_tokens=4),
    )
    runtime = await Runtime.open(Paths.resolve(), config)
    try:
        await runtime.load_model(config.model)
        record = await asyncio.to_thread(long_chat, runtime.memory, 2)
        chats: Any = SimpleNamespace(all=[], visible=SimpleNamespace(record=record), busy=[])
        consolidating = Consolidating(runtime, chats)
        consolidating.pause_s = 0.01
        consolidating.start()
        made = await _summaries(runtime)
        await consolidating.stop()

        chat = runtime.chat_session(record)
        await read(chat.send("Write down what we still have to buy." + SENTENCE * 15))
        report = chat.last_context
        assert report is not None
        assert report.strategy == "hierarchical"
        assert report.summaries
        for summary_id in report.summaries:
            assert quoted(made[summary_id]) in chat.last_prompt[0].content
    finally:
        await runtime.close()


async def _summaries(runtime: Runtime) -> dict[int, str]:
    """The texts of all summaries, as soon as there are any."""
    end = asyncio.get_running_loop().time() + TIMEOUT_S
    while True:
        document = await asyncio.to_thread(runtime.memory.long_term.export)
        if document["summaries"]:
            return {summary["id"]: summary["text"] for summary in document["summaries"]}
        assert asyncio.get_running_loop().time() < end, "no summary was made"
        await asyncio.sleep(0.05)
