"""From sampling parameters to the stages of a chain."""

from __future__ import annotations

from engine.llama.chains import chain_stages, is_greedy
from engine.types import SamplingParams


def names(params: SamplingParams) -> list[str]:
    return [stage.name for stage in chain_stages(params, seed=1, vocab_size=10)]


def test_the_chain_filters_cheaply_first() -> None:
    assert names(SamplingParams()) == ["top_k", "top_p", "min_p", "temp", "dist"]


def test_samplers_that_do_nothing_are_left_out() -> None:
    assert names(SamplingParams(top_k=0, top_p=1.0, min_p=0.0)) == ["temp", "dist"]


def test_penalties_come_before_the_filters() -> None:
    assert names(SamplingParams(presence_penalty=0.5))[0] == "penalties"
    assert names(SamplingParams(repetition_penalty=1.1, temperature=0)) == ["penalties", "greedy"]


def test_the_other_samplers_stand_where_llama_cpp_puts_them() -> None:
    everything = SamplingParams(
        repetition_penalty=1.1, dry_multiplier=1.0, typical_p=0.9, xtc_probability=0.5, min_p=0.1
    )
    assert names(everything) == [
        "penalties", "dry", "top_k", "typical", "top_p", "min_p", "xtc", "temp", "dist"
    ]  # fmt: skip
    assert names(SamplingParams(mirostat=1, typical_p=0.5)) == ["temp", "mirostat"]
    assert names(SamplingParams(mirostat=2, dry_multiplier=1.0)) == ["dry", "temp", "mirostat_v2"]
    assert names(SamplingParams(mirostat=2, xtc_probability=1.0, temperature=0)) == ["greedy"]


def test_greedy_needs_no_chain() -> None:
    assert is_greedy(SamplingParams(temperature=0))
    assert not is_greedy(SamplingParams(temperature=0, frequency_penalty=0.1))
    assert not is_greedy(SamplingParams())
    assert is_greedy(SamplingParams(top_k=1))
    assert not is_greedy(SamplingParams(top_k=1, mirostat=1))
    assert not is_greedy(SamplingParams(temperature=0, dry_multiplier=1.0))
