"""Gemma 3 270M base: another vocabulary, sliding-window attention, no chat template."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine import ChatMessage, Engine, EngineConfig, GenerationRequest, SamplingParams
from engine.llama import LlamaBackend


async def complete(engine: Engine, *contents: str, session_id: str | None = None, max_tokens: int = 16):  # type: ignore[no-untyped-def]
    roles = ["user", "assistant"] * len(contents)
    messages = [ChatMessage(role, text) for role, text in zip(roles, contents, strict=False)]  # type: ignore[arg-type]
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens)
    stream = engine.submit(GenerationRequest(messages=messages, sampling=params, session_id=session_id))
    text = "".join([chunk.text async for chunk in stream])
    return text, stream


@pytest.fixture
def config(gemma_model: Path) -> EngineConfig:
    return EngineConfig(model_path=gemma_model, max_sessions=4, cached_sessions=4, context_tokens=2048)


async def test_it_serves_a_model_without_a_chat_template(config: EngineConfig) -> None:
    async with Engine(config) as engine:
        assert engine.info.template_name == "plain fallback"
        assert "no chat template" in engine.info.warnings[0]
        assert engine.info.vocab_size > 262_000
        first, one = await complete(engine, "What is the capital of France?", session_id="s")
        assert "Paris" in first
        assert "User:" not in first
        _, two = await complete(
            engine, "What is the capital of France?", first, "And of Spain?", session_id="s"
        )
        history = one.timings.prompt_tokens + one.timings.completion_tokens
        assert two.timings.cached_tokens > 0
        assert two.timings.prompt_tokens > history
        texts = await asyncio.gather(
            *(complete(engine, f"Name {n} animals.", max_tokens=8) for n in (2, 3, 4))
        )
        assert all(text for text, _ in texts)


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
