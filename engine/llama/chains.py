"""Sampling parameters to llama.cpp's sampler chains."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
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
    "remembers",
    "uses_penalties",
]

# Below this temperature the likeliest token is certain anyway, and dividing by it can overflow, which makes
# NaNs.
_COLDEST = 1e-6


@dataclass(frozen=True, slots=True)
class SamplerStage:
    """One sampler: the suffix of `llama_sampler_init_*` and its arguments.

    Args:
        texts: the breakers of DRY.
        seeded: whether it draws random numbers.
    """

    name: str
    args: tuple[float | int, ...] = ()
    texts: tuple[str, ...] = ()
    seeded: bool = False


def uses_penalties(params: SamplingParams) -> bool:
    """Whether recent tokens change their own logits."""
    changed = params.repetition_penalty != 1.0 or params.presence_penalty or params.frequency_penalty
    return bool(changed) and params.penalty_last_n > 0


def uses_dry(params: SamplingParams) -> bool:
    """Whether recent tokens change the logits of those that would repeat them."""
    return params.dry_multiplier > 0 and params.dry_last_n > 0


def remembers(params: SamplingParams) -> bool:
    """Whether the chain must be told every token of the text."""
    return uses_penalties(params) or uses_dry(params)


def is_greedy(params: SamplingParams) -> bool:
    """Whether an argmax over the logits gives the token."""
    if remembers(params):
        return False
    return params.temperature < _COLDEST or (params.top_k == 1 and not params.mirostat)


def preselected(params: SamplingParams) -> int:
    """How many of the likeliest tokens include everything the chain can keep; 0 when there is no such bound.

    Penalties that only lower logits move at most the n tokens they look at: of the k + n likeliest, k
    keep their logits, above every token outside.
    """
    if uses_dry(params):
        return 0
    count = 1 if params.temperature < _COLDEST else 0 if params.mirostat else params.top_k
    if not count or not uses_penalties(params):
        return count
    lowering = params.repetition_penalty >= 1 and min(params.presence_penalty, params.frequency_penalty) >= 0
    return count + params.penalty_last_n if lowering else 0


def chain_stages(params: SamplingParams, *, seed: int, vocab_size: int) -> tuple[SamplerStage, ...]:
    """The chain in llama.cpp's usual order: penalties, DRY, filters, temperature, draw."""
    stages: list[SamplerStage] = []
    if uses_penalties(params):
        penalties = (params.repetition_penalty, params.frequency_penalty, params.presence_penalty)
        stages.append(SamplerStage("penalties", (vocab_size, params.penalty_last_n, *penalties)))
    if uses_dry(params):
        numbers = (params.dry_multiplier, params.dry_base, params.dry_allowed_length, params.dry_last_n)
        stages.append(SamplerStage("dry", numbers, params.dry_breakers))
    if params.temperature < _COLDEST:
        return (*stages, SamplerStage("greedy"))
    temperature = SamplerStage("temp", (params.temperature,))
    if params.mirostat:
        return (*stages, temperature, _mirostat(params, seed, vocab_size))
    draw = SamplerStage("dist", (seed,), seeded=True)
    return (*stages, *_filters(params, seed), temperature, draw)


def _mirostat(params: SamplingParams, seed: int, vocab_size: int) -> SamplerStage:
    surprise = (params.mirostat_tau, params.mirostat_eta)
    if params.mirostat == 1:
        return SamplerStage("mirostat", (vocab_size, seed, *surprise, _MIROSTAT_M), seeded=True)
    return SamplerStage("mirostat_v2", (seed, *surprise), seeded=True)


def _filters(params: SamplingParams, seed: int) -> Iterator[SamplerStage]:
    """What cuts the candidates. top-k comes first because it is cheap (a partial sort up to 128), and every
    later stage then works on k tokens instead of the whole vocabulary."""
    if params.top_k:
        yield SamplerStage("top_k", (params.top_k,))
    if params.typical_p < 1.0:
        yield SamplerStage("typical", (params.typical_p, 1))
    if params.top_p < 1.0:
        yield SamplerStage("top_p", (params.top_p, 1))
    if params.min_p > 0.0:
        yield SamplerStage("min_p", (params.min_p, 1))
    if params.xtc_probability > 0.0:
        yield SamplerStage("xtc", (params.xtc_probability, params.xtc_threshold, 1, seed), seeded=True)


_MIROSTAT_M = 100  # tokens from which version 1 estimates the slope, as in the paper
_MOST_TEMPLATES = 64


def build_chain(stages: Sequence[SamplerStage], vocab: Any = None) -> Any:
    """A chain of these stages; free it with `llama_sampler_free`.

    Args:
        vocab: the llama_vocab, which DRY needs.
    """
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for stage in stages:
        _add(chain, stage, vocab)
    return chain


class ChainTemplates:
    """One chain per set of parameters, up to the first stage that draws random numbers.

    Cloning a chain takes a third of the time of building one. A clone of `dist` keeps the original's random
    numbers and cannot be reseeded, so from there on the stages are made for each request.
    """

    def __init__(self, vocab_size: int, vocab: Any = None) -> None:
        self._vocab_size = vocab_size
        self._vocab = vocab
        self._templates: dict[tuple[SamplerStage, ...], Any] = {}
        self._lock = Lock()  # of the templates
        self._closed = False

    def prepare(self, params: SamplingParams) -> None:
        """Build the template of these parameters, if there is none. For DRY that reads the whole vocabulary.
        Thread-safe."""
        if not is_greedy(params):
            self._add_template(self._shared(self._stages(params)))

    def make(self, params: SamplingParams, prompt: Sequence[int]) -> Any:
        """The chain of a request, which has seen what it remembers of the prompt; the caller frees it."""
        stages = self._stages(params)
        shared = self._shared(stages)
        while (chain := self._clone(shared)) is None:
            self._add_template(shared)
        for stage in stages[len(shared) :]:
            _add(chain, stage, self._vocab)
        if remembers(params):
            longest = max(params.penalty_last_n, params.dry_last_n if uses_dry(params) else 0)
            for token in prompt[-longest:]:
                lib.llama_sampler_accept(chain, token)
        return chain

    def close(self) -> None:
        """Free the templates; chains made from them live on."""
        with self._lock:
            self._closed = True
            self._free()

    def _stages(self, params: SamplingParams) -> tuple[SamplerStage, ...]:
        return chain_stages(params, seed=resolve_seed(params), vocab_size=self._vocab_size)

    @staticmethod
    def _shared(stages: tuple[SamplerStage, ...]) -> tuple[SamplerStage, ...]:
        first = next((at for at, stage in enumerate(stages) if stage.seeded), len(stages))
        return stages[:first]

    def _clone(self, stages: tuple[SamplerStage, ...]) -> Any:
        with self._lock:
            template = self._templates.get(stages)
            return None if template is None else lib.llama_sampler_clone(template)

    def _add_template(self, stages: tuple[SamplerStage, ...]) -> None:
        with self._lock:
            if stages in self._templates:
                return
        chain = build_chain(stages, self._vocab)  # other threads clone meanwhile
        with self._lock:
            if self._closed or stages in self._templates:
                lib.llama_sampler_free(chain)
                return
            if len(self._templates) >= _MOST_TEMPLATES:
                self._free()
            self._templates[stages] = chain

    def _free(self) -> None:
        while self._templates:
            lib.llama_sampler_free(self._templates.popitem()[1])


def _add(chain: Any, stage: SamplerStage, vocab: Any) -> None:
    make = getattr(lib, f"llama_sampler_init_{stage.name}")
    if stage.name == "dry":
        texts = (ctypes.c_char_p * len(stage.texts))(
            *(text.encode("utf-8", "replace") for text in stage.texts)
        )
        sampler = make(vocab, *stage.args, texts, len(stage.texts))
    else:
        sampler = make(*stage.args)
    lib.llama_sampler_chain_add(chain, sampler)
