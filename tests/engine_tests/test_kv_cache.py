"""Number formats and layouts of the KV cache on the starter model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_tests.real import ask

from engine import ConfigError, Engine, EngineConfig

QUESTION = "Which city is the capital of France? Answer in one short sentence."


@pytest.mark.parametrize(("kv_type", "share"), [("f16", 1.0), ("q8_0", 34 / 64), ("q4_0", 18 / 64)])
@pytest.mark.parametrize("layout", ["unified", "split"])
async def test_quantised_caches_answer_and_take_less(
    starter_model: Path, kv_type: Any, share: float, layout: Any
) -> None:
    config = EngineConfig(
        model_path=starter_model, max_sessions=2, context_tokens=1024, kv_type=kv_type, kv_layout=layout
    )
    async with Engine(config) as engine:
        assert engine.info.kv_bytes_per_token == int(30 * 3 * 64 * 2 * 2 * share)
        assert engine.info.split_cache == (layout == "split")
        first = await ask(engine, QUESTION, session_id="s")
        assert "Paris" in first.text
        await ask(engine, "Hello.", session_id="t")
        second = await ask(engine, QUESTION, first.text, "And of Italy?", session_id="s")
        assert second.timings.cached_tokens > 20
        assert engine.stats().kv_layout == layout


def test_a_quantised_cache_needs_flash_attention() -> None:
    with pytest.raises(ConfigError, match="kv_type q4_0 needs flash attention, but flash_attention is off"):
        EngineConfig(model_path=Path("m.gguf"), kv_type="q4_0", flash_attention="off")


@pytest.mark.parametrize(
    ("settings", "split"),
    [
        ({}, False),
        ({"max_sessions": 16}, False),
        ({"max_sessions": 16, "context_tokens": 16 * 2048}, True),
        ({"max_sessions": 15, "context_tokens": 16 * 2048}, False),
        ({"max_sessions": 32, "context_tokens": 32 * 512}, False),
        ({"max_sessions": 2, "kv_layout": "split"}, True),
        ({"max_sessions": 32, "context_tokens": 1 << 20, "kv_layout": "unified"}, False),
    ],
)
def test_the_layout_that_auto_means(settings: dict[str, Any], split: bool) -> None:
    config = EngineConfig(model_path=Path("m.gguf"), **settings)
    assert config.split_cache is split
    assert config.sequences == config.max_sessions + (0 if split else config.cached_sessions)


@pytest.mark.parametrize(
    ("name", "value"),
    [("kv_type", "q5_1"), ("kv_layout", "both"), ("speculation", "yes"), ("draft_tokens", 0)],
)
def test_other_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        EngineConfig(model_path=Path("m.gguf"), **{name: value})
