"""Sampler chains of llama.cpp, cloned from templates."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import Any

from engine.llamacpp import lib
from engine.sampling import SamplerStage, chain_stages, resolve_seed, uses_penalties
from engine.types import SamplingParams

__all__ = ["ChainTemplates", "build_chain"]

_MOST_TEMPLATES = 64


def build_chain(stages: SequenceOf[SamplerStage]) -> Any:
    """A chain of these stages, to be freed by `llama_sampler_free`."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for stage in stages:
        _add(chain, stage)
    return chain


class ChainTemplates:
    """One chain for each set of parameters, without its last stage.

    Cloning takes a third of the time of building. A clone of `dist` keeps its random numbers, and nothing can
    seed them anew, so the last stage is made for each request.
    """

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._templates: dict[tuple[SamplerStage, ...], Any] = {}

    def make(self, params: SamplingParams, prompt: SequenceOf[int]) -> Any:
        """The chain of a request; its penalties have seen the end of the prompt. The caller frees it."""
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
