"""Number formats and layouts of the KV cache on the starter model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_tests.real import THREADS, ask

from engine import Engine, EngineConfig

QUESTION = "Which city is the capital of France? Answer in one short sentence."


@pytest.mark.parametrize(("kv_type", "share"), [("f16", 1.0), ("q8_0", 34 / 64), ("q4_0", 18 / 64)])
@pytest.mark.parametrize("layout", ["unified", "split"])
async def test_quantised_caches_answer_and_take_less(
    starter_model: Path, kv_type: Any, share: float, layout: Any
) -> None:
    config = EngineConfig(
        model_path=starter_model,
        max_sessions=2,
        context_tokens=1024,
        kv_type=kv_type,
        kv_layout=layout,
        threads=THREADS,
    )
    async with Engine(config) as engine:
        assert engine.info.kv_bytes_per_token == int(30 * 3 * 64 * 2 * 2 * share)
        assert engine.info.split_cache == (layout == "split")
        first = await ask(engine, QUESTION, session_id="s", max_tokens=16)
        assert "Paris" in first.text
        await ask(engine, "Hello.", session_id="t", max_tokens=2)
        second = await ask(engine, QUESTION, first.text, "And of Italy?", session_id="s", max_tokens=2)
        assert second.timings.cached_tokens > 20
        assert engine.stats().kv_layout == layout
