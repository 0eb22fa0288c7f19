"""Settings of an engine: their bounds, and what "auto" means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import ConfigError, EngineConfig


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"max_sessions": 0}, "max_sessions must be between"),
        ({"threads": -1}, "threads must be between"),
        ({"batch_tokens": 32, "max_sessions": 40}, "batch_tokens"),
        ({"context_tokens": 100}, "context_tokens"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        EngineConfig(model_path=Path("x.gguf"), **wrong)


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
    [
        ("kv_type", "q5_1"),
        ("kv_layout", "both"),
        ("speculation", "yes"),
        ("draft_tokens", 0),
        ("threads", True),
        ("threads", "2"),
        pytest.param("threads", 10**5000, id="threads with 5,000 digits"),
        ("tensor_split", (10**400,)),
        ("tensor_overrides", ("a\0b=CPU",)),
        ("model_path", None),
        ("parked_folder", 5),
        ("tensor_split", 1),
        ("tensor_split", ("a",)),
        ("tensor_overrides", "exps=CPU"),
        ("tensor_overrides", (("exps", "CPU"),)),
        ("chat_template", 5),
        ("reasoning_marks", ("<think>",)),
        ("reasoning_marks", "<think>"),
    ],
)
def test_other_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        EngineConfig(**{"model_path": Path("m.gguf"), name: value})
