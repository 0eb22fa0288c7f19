"""Moves in a split KV cache, where llama.cpp copies a stream only with the next forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine.llama.backend
from engine import EngineConfig, SamplingParams
from engine.llama.backend import LlamaBackend
from engine.llama.lib import lib
from engine.step import Copy, Restore, Save, StepPlan, StepStatus, Trim, Work

PROMPT = (*range(1000, 1040),)
OTHER = (*range(2000, 2040),)


@pytest.fixture
def backend(starter_model: Path) -> Iterator[LlamaBackend]:
    config = EngineConfig(
        model_path=starter_model,
        max_sessions=4,
        context_tokens=1024,
        batch_tokens=64,
        kv_layout="split",
        speculation="off",
        threads=1,
    )
    backend = LlamaBackend(config)
    yield backend
    backend.close()


def compute(backend: LlamaBackend, slot: int, tokens: tuple[int, ...], start: int = 0) -> Any:
    """Compute tokens in a slot; returns the logits of the last."""
    backend.open_sampler(slot, SamplingParams(temperature=0.0, seed=1), tokens)
    result = backend.execute(StepPlan((Work(slot, slot, start, tokens, 1),)))
    assert result.status is StepStatus.OK
    return backend.logits(1)[0].copy()


def test_a_copy_takes_what_its_source_held_then(backend: LlamaBackend) -> None:
    """A state that is restored into the source before the copy is made would be copied instead."""
    expected = compute(backend, 0, PROMPT)
    compute(backend, 1, OTHER)
    state = backend.execute(StepPlan(moves=(Save(1, "other", OTHER),))).saved["other"]
    backend.execute(StepPlan(moves=(Copy(0, 2, 0, 40), Trim(0, 0))))
    restored = backend.execute(StepPlan(moves=(Restore(0, 40, state),)))
    assert restored.status is StepStatus.LOST
    assert backend.resident(0) == 0
    backend.execute(StepPlan(moves=(Trim(2, 39),)))
    again = compute(backend, 2, PROMPT[-1:], start=39)
    assert np.abs(again - expected).max() < 0.5
    assert backend.execute(StepPlan(moves=(Restore(0, 40, state),))).status is StepStatus.OK


@pytest.mark.parametrize("code", [-1, 1])
def test_a_refused_batch_leaves_a_copy_pending_and_a_full_cache_does_not(
    backend: LlamaBackend, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    compute(backend, 0, PROMPT)
    state = backend.execute(StepPlan(moves=(Save(0, "prompt", PROMPT),))).saved["prompt"]
    backend.execute(StepPlan(moves=(Copy(0, 2, 0, 40),)))
    with monkeypatch.context() as patch:
        patch.setattr(engine.llama.backend, "lib", Refusing(code))
        backend.execute(StepPlan((Work(0, 3, 0, OTHER, 0),)))
    backend.execute(StepPlan(moves=(Trim(2, 0),)))
    status = backend.execute(StepPlan(moves=(Restore(2, 40, state),))).status
    assert status is (StepStatus.LOST if code == -1 else StepStatus.OK)


class Refusing:
    """llama.cpp, whose forward passes end with this code."""

    def __init__(self, code: int) -> None:
        self._code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(lib, name)

    def llama_decode(self, context: Any, batch: Any) -> int:
        return self._code
