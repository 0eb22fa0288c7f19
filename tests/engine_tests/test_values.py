"""Validation of requests and settings, sampler chains, batch arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine import ChatMessage, ConfigError, EngineConfig, GenerationRequest, InvalidRequest, SamplingParams
from engine.llama.loading import BatchArrays
from engine.sampling import chain_stages, is_greedy, resolve_seed
from engine.step import Work


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"top_k": -1},
        {"repetition_penalty": 0},
        {"max_tokens": 0},
        {"seed": -1},
        {"stop": ("",)},
    ],
)
def test_sampling_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(InvalidRequest, match="stop string" if name == "stop" else name):
        SamplingParams(**wrong)


def test_a_request_needs_a_message() -> None:
    with pytest.raises(InvalidRequest):
        GenerationRequest(messages=[])


def test_messages_are_copied() -> None:
    messages = [ChatMessage("user", "hi")]
    request = GenerationRequest(messages=messages)
    messages.clear()
    assert request.messages == (ChatMessage("user", "hi"),)


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


def names(params: SamplingParams) -> list[str]:
    return [stage.name for stage in chain_stages(params, seed=1, vocab_size=10)]


def test_the_chain_filters_cheaply_first() -> None:
    assert names(SamplingParams()) == ["top_k", "top_p", "min_p", "temp", "dist"]


def test_samplers_that_do_nothing_are_left_out() -> None:
    assert names(SamplingParams(top_k=0, top_p=1.0, min_p=0.0)) == ["temp", "dist"]


def test_penalties_come_before_the_filters() -> None:
    assert names(SamplingParams(presence_penalty=0.5))[0] == "penalties"
    assert names(SamplingParams(repetition_penalty=1.1, temperature=0)) == ["penalties", "greedy"]


def test_greedy_needs_no_chain() -> None:
    assert is_greedy(SamplingParams(temperature=0))
    assert not is_greedy(SamplingParams(temperature=0, frequency_penalty=0.1))
    assert not is_greedy(SamplingParams())


def test_seeds_are_kept_or_drawn() -> None:
    assert resolve_seed(SamplingParams(seed=7)) == 7
    assert len({resolve_seed(SamplingParams()) for _ in range(20)}) > 1


def test_batch_arrays() -> None:
    arrays = BatchArrays(8)
    decode, prompt, guessed = (
        Work(1, 3, 10, (7,), 1),
        Work(2, 5, 0, (8, 9, 10), 0),
        Work(4, 4, 2, (11, 12), 2),
    )
    total, sampled = arrays.fill([decode, prompt, guessed])
    assert total == 6
    assert sampled == [decode, guessed], "adjacent slots lie together"
    assert arrays.token[:6].tolist() == [7, 11, 12, 8, 9, 10]
    assert arrays.pos[:6].tolist() == [10, 2, 3, 0, 1, 2]
    assert arrays.seq_id[:6].tolist() == [3, 4, 4, 5, 5, 5]
    assert arrays.logits[:6].tolist() == [1, 1, 1, 0, 0, 0]
    assert (np.diff(arrays.seq_id_pointers) == 4).all()


def test_a_batch_over_its_capacity_is_refused_in_python() -> None:
    with pytest.raises(ValueError, match="9 tokens do not fit a batch of 8"):
        BatchArrays(8).fill([Work(1, 0, 0, tuple(range(9)), 1)])


def test_every_public_name_is_there() -> None:
    assert sorted(engine.__all__) == sorted(set(engine.__all__))
    assert all(hasattr(engine, name) for name in engine.__all__)
