"""Constrained answers through the whole engine, on the starter model."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from engine_tests.real import THREADS, ask

from engine import Engine, EngineConfig, FinishReason, InvalidRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "colour": {"enum": ["red", "green", "blue"]},
        },
        "required": ["name", "age", "colour"],
        "additionalProperties": False,
    }
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(starter_model: Path) -> AsyncIterator[Engine]:
    config = EngineConfig(
        model_path=starter_model, max_sessions=8, context_tokens=4096, speculation="on", threads=THREADS
    )
    async with Engine(config) as engine:
        yield engine


async def test_answers_follow_a_json_schema(engine: Engine) -> None:
    answers = await asyncio.gather(
        *(
            ask(engine, f"Describe person {n}.", json_schema=SCHEMA, temperature=1.0, seed=n, max_tokens=80)
            for n in range(4)
        )
    )
    for answer in answers:
        assert answer.reason is FinishReason.STOP
        person = json.loads(answer.text)
        assert set(person) == {"name", "age", "colour"}
        assert 0 <= person["age"] <= 120
        assert person["colour"] in ("red", "green", "blue")


async def test_answers_follow_a_grammar_and_others_do_not_notice(engine: Engine) -> None:
    grammar = 'root ::= "The sea is " ("calm" | "wild") " on day " [0-9] [0-9]? "."'
    bound, free = await asyncio.gather(
        ask(engine, "How is the sea?", grammar=grammar, temperature=1.0, seed=1, max_tokens=60),
        ask(engine, "How is the sea?", temperature=1.0, seed=1, max_tokens=20),
    )
    assert re.fullmatch(r"The sea is (calm|wild) on day \d\d?\.", bound.text)
    assert free.text != bound.text


async def test_a_bad_grammar_fails_its_own_request_only(engine: Engine) -> None:
    good = asyncio.create_task(ask(engine, "Say hello.", max_tokens=8))
    for grammar in ("root ::= other", "root ::= root", "", "root ::= ("):
        with pytest.raises(InvalidRequest):
            await ask(engine, "How is the sea?", grammar=grammar)
    with pytest.raises(InvalidRequest, match="schema"):
        await ask(engine, "How is the sea?", json_schema='{"type": "nonsense"}')
    assert (await good).text
