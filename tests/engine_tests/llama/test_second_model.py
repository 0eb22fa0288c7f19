"""Gemma 3 270M base: another vocabulary, sliding-window attention, no chat template."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from engine_tests.real import THREADS, ask

from engine import Engine, EngineConfig
from engine.llama.backend import LlamaBackend


@pytest.fixture
def config(gemma_model: Path) -> EngineConfig:
    return EngineConfig(
        model_path=gemma_model, max_sessions=4, cached_sessions=4, context_tokens=2048, threads=THREADS
    )


async def test_it_serves_a_model_without_a_chat_template(config: EngineConfig) -> None:
    async with Engine(config) as engine:
        assert engine.info.template_name == "plain fallback"
        assert "no chat template" in engine.info.warnings[0]
        assert engine.info.vocab_size > 262_000
        first = await ask(engine, "What is the capital of France?", session_id="s", max_tokens=16)
        assert "Paris" in first.text
        assert "User:" not in first.text
        turns = ("What is the capital of France?", first.text, "And of Spain?")
        second = await ask(engine, *turns, session_id="s", max_tokens=16)
        history = first.timings.prompt_tokens + first.timings.completion_tokens
        assert second.timings.cached_tokens > 0
        assert second.timings.prompt_tokens > history
        answers = await asyncio.gather(*(ask(engine, f"Name {n} animals.", max_tokens=8) for n in (2, 3, 4)))
        assert all(answer.text for answer in answers)


def test_the_begin_token_is_there_exactly_once(config: EngineConfig) -> None:
    backend = LlamaBackend(config)
    try:
        plain = backend.tokenize("hi", add_special=True, parse_special=True)
        printed = backend.tokenize("<bos>hi", add_special=True, parse_special=True)
        assert plain == printed
        assert plain.count(plain[0]) == 1
        assert backend.piece(plain[0], special=True) == b"<bos>"
        assert backend.piece(plain[0]) == b""
    finally:
        backend.close()
