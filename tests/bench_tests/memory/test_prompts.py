"""The benchmark of long chats on an engine whose model costs nothing; a token is a character."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bench.cli import BenchError
from bench.engine.fake_backend import FakeBackend
from bench.memory import chats
from bench.memory.chats import Settings
from bench.memory.locomo import Conversation, Question, Spoken, Talk, talk_of
from bench.memory.sides import Asker, Evidence, Turned, WindowSide
from engine import Engine, EngineConfig, Timings
from memory import Budget

THINGS = [
    "canoe",
    "piano",
    "violin",
    "bicycle",
    "telescope",
    "kettle",
    "ladder",
    "compass",
    "guitar",
    "anvil",
]
BUDGET = 700


def conversation(sessions: int = 6) -> Conversation:
    """In each session one thing gets a colour of its own; the last is asked for nowhere."""
    told = [
        (
            Spoken(
                f"D{number}:1", "user", f"Ada: My {thing} number {number} is painted in shade {number}.", at
            ),
            Spoken(
                f"D{number}:2", "assistant", f"Bob: I would never have thought of that, {number} times.", at
            ),
        )
        for number, thing in enumerate(THINGS[:sessions])
        for at in [f"2023-05-{number + 1:02}T10:00:00Z"]
    ]
    questions = tuple(
        Question(f"Which shade has my {thing}?", 4, frozenset({f"D{number}:1"}))
        for number, thing in enumerate(THINGS[: sessions - 1])
    )
    return Conversation("c1", tuple(told), questions)


def fake_engine(config: EngineConfig) -> Engine:
    return Engine(config, load=lambda *_: FakeBackend(config.context_tokens, 0.0))


def settings(*strategies: str, window_every: int = 1) -> Settings:
    return Settings(
        model=Path("fake.gguf"),
        strategies=strategies,
        turns=15,
        ask_every=3,
        budget=BUDGET,
        reply_tokens=4,
        window_every=window_every,
        meaning=False,
    )


def test_questions_come_after_what_they_ask_for_was_said() -> None:
    talk = talk_of(conversation(), turns=9, ask_every=3)
    said = {turn.name for turns in talk.past for turn in turns}
    asked = []
    for line in talk.lines:
        if line.question is not None:
            assert line.question.evidence <= said
            asked.append(line.text)
        else:
            assert line.name is not None
            said.add(line.name)
    assert [number for number, line in enumerate(talk.lines, 1) if line.question] == [3, 6, 9]
    assert len(set(asked)) == 3
    assert said == {turn.name for turns in conversation().sessions for turn in turns}


def test_a_conversation_can_be_too_short() -> None:
    with pytest.raises(BenchError, match="c1 has 12 turns: ask for fewer than 30"):
        talk_of(conversation(), turns=30, ask_every=3)


@pytest.fixture(scope="module")
def talk() -> Talk:
    return talk_of(conversation(10), turns=15, ask_every=3)


@pytest.fixture(scope="module")
def result(talk: Talk) -> dict[str, Any]:
    return asyncio.run(chats.measure([talk], settings("hierarchical", "sliding", "full"), fake_engine))


def test_every_side_goes_through_the_chat_and_pays_for_what_it_changes(result: dict[str, Any]) -> None:
    sides = result["sides"]
    assert {name: side["turns"] for name, side in sides.items() if name != "full"} == {
        "hierarchical": 15,
        "sliding": 15,
        "window": 15,
    }
    assert 0 < sides["full"]["turns"] < 15, "the whole chat fits for a while"
    assert all(side["prompt_tokens"] <= BUDGET for side in sides.values())
    # What a window shifts it reads again; what is quoted is read anew; else only what is new.
    assert sides["window"]["prefilled_tokens"] > 1.5 * sides["sliding"]["prefilled_tokens"]
    assert sides["hierarchical"]["prefilled_tokens"] > sides["sliding"]["prefilled_tokens"]
    assert result["ratio"] == result["ratio_by_conversation"]["c1"]
    assert result["ratio"] == pytest.approx(
        sides["hierarchical"]["prefilled_tokens"] / sides["window"]["prefilled_tokens"], abs=0.001
    )
    assert sides["sliding"]["ttft_to_sliding"] == 1.0


def test_evidence_is_found_where_it_stands(result: dict[str, Any]) -> None:
    ours, sliding = (result["sides"][name]["evidence"] for name in ("hierarchical", "sliding"))
    assert ours["questions"] == sliding["questions"] == 5
    assert (sliding["quoted"], sliding["summarised"]) == (0.0, 0.0)
    assert ours["quoted"] > 0.0
    assert ours["verbatim"] + ours["quoted"] > sliding["verbatim"]
    table = "\n".join(chats.show(result))
    assert f"prefilled, hierarchical over window: {result['ratio']}" in table


async def windowed(talk: Talk, every: int) -> dict[int, int]:
    """What the window prefills, by turn."""
    async with fake_engine(settings().engine) as engine:
        window = WindowSide(Budget(BUDGET), Asker(engine, 4), every)
        turns = [await window.say(line, number, " word" * 4) for number, line in enumerate(talk.lines, 1)]
    return {number: turned.prefilled for number, turned in enumerate(turns, 1) if turned is not None}


async def test_a_window_that_is_asked_in_pairs_of_turns_counts_what_it_would_count(talk: Talk) -> None:
    every, some = await windowed(talk, 1), await windowed(talk, 5)
    assert some == {number: every[number] for number in (5, 10, 15)}
    assert every[5] < BUDGET / 4 < every[15], "first it grows, then it slides"


def test_what_a_side_costs_is_its_mean() -> None:
    def turned(prompt: int, cached: int, ttft: float, **more: Any) -> Turned:
        return Turned(Timings(prompt_tokens=prompt, cached_tokens=cached, ttft_s=ttft), **more)

    turns = {
        "sliding": {1: turned(100, 90, 0.1), 2: turned(110, 100, 0.2)},
        "hierarchical": {
            1: turned(100, 50, 0.2, memories=40, evidence=Evidence(1.0)),
            2: turned(200, 100, 0.8, evidence=Evidence(0.0, 0.5, 0.25), background=30),
        },
        "window": {2: turned(400, 100, 0.3)},
    }
    result = chats.summary({"c1": turns})
    ours = result["sides"]["hierarchical"]
    assert (result["ratio"], ours["prefilled_tokens"], ours["prompt_tokens"]) == (0.25, 75.0, 150.0)
    assert (ours["with_memories"], ours["memory_tokens"], ours["background_tokens"]) == (0.5, 40.0, 15.0)
    assert ours["evidence"] == {"questions": 2, "verbatim": 50.0, "quoted": 25.0, "summarised": 12.5}
    assert ours["ttft_to_sliding"] == 3.0
    assert result["sides"]["window"]["evidence"] is None
