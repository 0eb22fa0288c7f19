"""Sampling parameters to a chain of samplers, without touching llama.cpp."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from engine.types import SamplingParams

__all__ = [
    "SEEDS",
    "SamplerStage",
    "chain_stages",
    "is_greedy",
    "preselected",
    "resolve_seed",
    "uses_penalties",
]

# Below this the likeliest token is certain anyhow, and dividing by it can overflow, which makes NaNs.
_COLDEST = 1e-6
SEEDS = 2**32 - 1  # one more would be LLAMA_DEFAULT_SEED, which means "random"


@dataclass(frozen=True, slots=True)
class SamplerStage:
    """One sampler: the suffix of `llama_sampler_init_*` and its arguments."""

    name: str
    args: tuple[float | int, ...] = ()


def resolve_seed(params: SamplingParams) -> int:
    """The seed to use: the given one, or one drawn now."""
    return secrets.randbelow(SEEDS) if params.seed is None else params.seed


def uses_penalties(params: SamplingParams) -> bool:
    """Whether recent tokens change the logits."""
    changed = params.repetition_penalty != 1.0 or params.presence_penalty or params.frequency_penalty
    return bool(changed) and params.penalty_last_n > 0


def is_greedy(params: SamplingParams) -> bool:
    """Whether the likeliest token is taken as it is, so that an argmax over the logits will do."""
    return (params.temperature < _COLDEST or params.top_k == 1) and not uses_penalties(params)


def preselected(params: SamplingParams) -> int:
    """How many of the likeliest tokens hold all that the chain can keep; 0 when that cannot be said.

    Penalties that only lower logits move at most as many tokens as they look at: of the k + n likeliest, k
    stay where they are, above every token outside.
    """
    count = 1 if params.temperature < _COLDEST else params.top_k
    if not count or not uses_penalties(params):
        return count
    lowering = params.repetition_penalty >= 1 and min(params.presence_penalty, params.frequency_penalty) >= 0
    return count + params.penalty_last_n if lowering else 0


def chain_stages(params: SamplingParams, *, seed: int, vocab_size: int) -> tuple[SamplerStage, ...]:
    """The chain in llama.cpp's usual order: penalties, top-k, top-p, min-p, temperature, draw.

    top-k comes first of the filters because it is cheap (a partial sort up to 128) and everything after it
    works on k candidates instead of the whole vocabulary.
    """
    stages: list[SamplerStage] = []
    if uses_penalties(params):
        penalties = (params.repetition_penalty, params.frequency_penalty, params.presence_penalty)
        stages.append(SamplerStage("penalties", (vocab_size, params.penalty_last_n, *penalties)))
    if params.temperature < _COLDEST:
        return (*stages, SamplerStage("greedy"))
    if params.top_k:
        stages.append(SamplerStage("top_k", (params.top_k,)))
    if params.top_p < 1.0:
        stages.append(SamplerStage("top_p", (params.top_p, 1)))
    if params.min_p > 0.0:
        stages.append(SamplerStage("min_p", (params.min_p, 1)))
    return (*stages, SamplerStage("temp", (params.temperature,)), SamplerStage("dist", (seed,)))
