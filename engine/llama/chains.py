"""Sampling parameters to llama.cpp's sampler chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.llama.lib import lib
from engine.types import SamplingParams, resolve_seed

__all__ = [
    "ChainTemplates",
    "SamplerStage",
    "build_chain",
    "chain_stages",
    "is_greedy",
    "preselected",
    "uses_penalties",
]

# Below this temperature the likeliest token is certain anyway, and dividing by it can overflow, which makes
# NaNs.
_COLDEST = 1e-6


@dataclass(frozen=True, slots=True)
class SamplerStage:
    """One sampler: the suffix of `llama_sampler_init_*` and its arguments."""

    name: str
    args: tuple[float | int, ...] = ()


def uses_penalties(params: SamplingParams) -> bool:
    """Whether recent tokens change the logits."""
    changed = params.repetition_penalty != 1.0 or params.presence_penalty or params.frequency_penalty
    return bool(changed) and params.penalty_last_n > 0


def is_greedy(params: SamplingParams) -> bool:
    """Whether an argmax over the logits gives the token."""
    return (params.temperature < _COLDEST or params.top_k == 1) and not uses_penalties(params)


def preselected(params: SamplingParams) -> int:
    """How many of the likeliest tokens include everything the chain can keep; 0 when there is no such bound.

    Penalties that only lower logits move at most the n tokens they look at: of the k + n likeliest, k
    keep their logits, above every token outside.
    """
    count = 1 if params.temperature < _COLDEST else params.top_k
    if not count or not uses_penalties(params):
        return count
    lowering = params.repetition_penalty >= 1 and min(params.presence_penalty, params.frequency_penalty) >= 0
    return count + params.penalty_last_n if lowering else 0


def chain_stages(params: SamplingParams, *, seed: int, vocab_size: int) -> tuple[SamplerStage, ...]:
    """The chain in llama.cpp's usual order: penalties, top-k, top-p, min-p, temperature, draw.

    top-k is the first filter because it is cheap (a partial sort up to 128), and every later stage then
    works on k tokens instead of the whole vocabulary.
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


_MOST_TEMPLATES = 64


def build_chain(stages: Sequence[SamplerStage]) -> Any:
    """A chain of these stages; free it with `llama_sampler_free`."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for stage in stages:
        _add(chain, stage)
    return chain


class ChainTemplates:
    """One chain per set of parameters, without its last stage.

    Cloning a chain takes a third of the time of building one. A clone of `dist` keeps the original's random
    numbers and cannot be reseeded, so the last stage is made for each request.
    """

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._templates: dict[tuple[SamplerStage, ...], Any] = {}

    def make(self, params: SamplingParams, prompt: Sequence[int]) -> Any:
        """The chain of a request, whose penalties have seen the end of the prompt. The caller frees it."""
        *common, last = chain_stages(params, seed=resolve_seed(params), vocab_size=self._vocab_size)
        chain = lib.llama_sampler_clone(self._template(tuple(common)))
        _add(chain, last)
        if uses_penalties(params):
            for token in prompt[-params.penalty_last_n :]:
                lib.llama_sampler_accept(chain, token)
        return chain

    def close(self) -> None:
        """Free the templates; chains made from them live on."""
        while self._templates:
            lib.llama_sampler_free(self._templates.popitem()[1])

    def _template(self, stages: tuple[SamplerStage, ...]) -> Any:
        if stages not in self._templates:
            if len(self._templates) >= _MOST_TEMPLATES:
                self.close()
            self._templates[stages] = build_chain(stages)
        return self._templates[stages]


def _add(chain: Any, stage: SamplerStage) -> None:
    make = getattr(lib, f"llama_sampler_init_{stage.name}")
    lib.llama_sampler_chain_add(chain, make(*stage.args))
