"""Tokens sampled from a preselection are the ones llama.cpp would choose."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_tests.llama.starter_logits import StarterLogits
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llama import sampler as sampler_module
from engine.llama.chains import build_chain, chain_stages, preselected, remembers
from engine.llama.lib import lib
from engine.llama.sampler import RowSampler
from engine.llama.topk import Rows, TokenDataArray, top_pays, top_tokens
from engine.step import Work
from engine.types import SamplingParams

ROWS = 32
TEXT = "The lighthouse keeper looked at the sea, and the sea looked back. " * 8
CHAINS = {
    "default": {},
    "hot": {"temperature": 3.0, "min_p": 0.0, "top_p": 1.0},
    "narrow": {"top_p": 0.4, "top_k": 12},
    "wide": {"top_k": 400, "temperature": 2.0},
    "one": {"top_k": 1, "repetition_penalty": 1.2},
    "whole vocabulary": {"top_k": 0},
    "more than pays": {"top_k": 20_000, "temperature": 2.0},
    "repetition": {"repetition_penalty": 1.4},
    "presence and frequency": {"presence_penalty": 3.0, "frequency_penalty": 1.0, "temperature": 1.5},
    "raising penalties": {"presence_penalty": -3.0, "repetition_penalty": 0.8},
    "greedy with penalties": {"temperature": 0.0, "repetition_penalty": 1.5, "penalty_last_n": 200},
    "greedy": {"temperature": 0.0},
    "typical": {"typical_p": 0.5},
    "typical of everything": {"typical_p": 0.8, "top_k": 0, "top_p": 1.0},
    "xtc": {"xtc_probability": 0.7, "xtc_threshold": 0.02, "temperature": 1.5},
    "dry": {"dry_multiplier": 2.0, "dry_allowed_length": 1},
    "dry and greedy": {"dry_multiplier": 2.0, "dry_allowed_length": 1, "temperature": 0.0},
    "dry without breakers": {"dry_multiplier": 3.0, "dry_breakers": (), "dry_last_n": 16},
    "mirostat 1": {"mirostat": 1, "mirostat_tau": 3.0},
    "mirostat 2": {"mirostat": 2, "mirostat_eta": 0.5},
    "mirostat 2 with penalties": {"mirostat": 2, "repetition_penalty": 1.3},
}


@pytest.fixture(scope="module")
def starter(starter_model: Path) -> Iterator[StarterLogits]:
    logits = StarterLogits(starter_model, rows=ROWS)
    yield logits
    logits.close()


def sampler_for(vocab_size: int, eog: int = -1, threads: int = 1, vocab: Any = None) -> RowSampler:
    return RowSampler(vocab_size=vocab_size, threads=threads, is_eog=lambda token: token == eog, vocab=vocab)


def one_row(request_id: int) -> Work:
    return Work(request_id, request_id, 0, (1,), 1)


class Reference:
    """llama_sampler_sample over the full chain."""

    def __init__(self, params: SamplingParams, prompt: list[int], starter: StarterLogits) -> None:
        assert params.seed is not None
        stages = chain_stages(params, seed=params.seed, vocab_size=starter.vocab_size)
        self.chain: Any = build_chain(stages, starter.vocab)
        if remembers(params):
            for token in prompt:
                lib.llama_sampler_accept(self.chain, token)

    def sample(self, context: Any, row: int) -> int:
        return int(lib.llama_sampler_sample(self.chain, context, row))

    def close(self) -> None:
        lib.llama_sampler_free(self.chain)


@pytest.mark.parametrize("source", ["real", "random"])
@pytest.mark.parametrize("name", CHAINS)
def test_tokens_are_those_of_llama_sampler_sample(starter: StarterLogits, name: str, source: str) -> None:
    starter.restart()
    prompt = starter.tokenize(TEXT)[:ROWS]
    rows = starter.decode(prompt)
    if source == "random":  # into llama.cpp's own buffer, so that both read it
        rows[:] = np.random.default_rng(1).standard_normal(rows.shape, np.float32) * 3
    sampler = sampler_for(starter.vocab_size, threads=2, vocab=starter.vocab)
    likely = [int(token) for token in rows[0].argsort()[-30:]]
    params = {i: SamplingParams(seed=i + 1, **CHAINS[name]) for i in range(ROWS)}  # type: ignore[arg-type]
    references = {i: Reference(p, prompt + likely, starter) for i, p in params.items()}
    for request_id, p in params.items():
        sampler.open(request_id, p, prompt + likely)
    # A tie at a boundary may fall either way. Equal logits are rare: none among a row's best few hundred.
    tied = {i for i in range(ROWS) if (np.diff(np.sort(rows[i])[-500:]) == 0).any()}
    assert len(tied) < ROWS // 2
    for _ in range(3):
        chosen = sampler.sample(rows, [one_row(i) for i in range(ROWS)])
        expected = {i: (reference.sample(starter.context, i),) for i, reference in references.items()}
        assert {i: chosen[i] for i in chosen if i not in tied} == {
            i: expected[i] for i in expected if i not in tied
        }
    for reference in references.values():
        reference.close()
    sampler.close_all()


@given(st.data())
@settings(max_examples=200)
def test_the_top_tokens_are_the_top_tokens(data: st.DataObject) -> None:
    vocab_size = data.draw(st.integers(600, 5000))
    count = data.draw(st.integers(1, vocab_size // 32))
    seed = data.draw(st.integers(0, 2**31))
    forbidden = data.draw(st.sampled_from([0.0, 0.5, 0.99, 1.0]))
    rng = np.random.default_rng(seed)
    row = rng.permutation(vocab_size).astype(np.float32)  # no ties
    row[rng.random(vocab_size) < forbidden] = -np.inf
    assert top_pays(vocab_size, count)
    tokens, logits = top_tokens(row, count)
    best = row.argsort()[::-1][:count]
    assert tokens.tolist() == [token for token in best if row[token] > -np.inf]
    assert logits.tolist() == row[tokens].tolist()


def test_ties_lose_no_token() -> None:
    tokens, logits = top_tokens(np.zeros(4096, np.float32), 40)
    assert len(set(tokens.tolist())) == 40
    assert not logits.any()


@pytest.mark.parametrize("count", [0, 40])
@pytest.mark.parametrize(
    "fill",
    [
        lambda row: row.fill(np.nan),
        lambda row: row.fill(-np.inf),
        lambda row: row.fill(np.inf),
        lambda row: row.fill(0),
        lambda row: row.__setitem__(slice(None, None, 3), np.nan),
        lambda row: row.__setitem__(7, np.nan),
        lambda row: row.__setitem__(7, np.inf),
        lambda row: row.__setitem__(7, 3e38),
        lambda row: row.fill(-3e38),
    ],
)
def test_a_broken_row_gives_a_token(fill: Any, count: int) -> None:
    row = np.random.default_rng(0).standard_normal(8192, np.float32)
    fill(row)
    params = SamplingParams(seed=1, top_k=count, temperature=0.01, top_p=1.0, min_p=0.0)
    chain = build_chain(chain_stages(params, seed=1, vocab_size=row.size))
    array = TokenDataArray(row.size)
    for _ in range(3):
        token = array.draw(chain, row, count)
        assert 0 <= token < row.size
        assert row[token] == row.max() or np.isnan(row).any()
    lib.llama_sampler_free(chain)


def test_a_lowering_penalty_adds_as_many_tokens_as_it_looks_at() -> None:
    assert preselected(SamplingParams(top_k=40)) == 40
    assert preselected(SamplingParams(top_k=40, repetition_penalty=1.1, penalty_last_n=64)) == 104
    assert preselected(SamplingParams(temperature=0, presence_penalty=1.0, penalty_last_n=10)) == 11
    assert preselected(SamplingParams(top_k=40, presence_penalty=-0.1)) == 0
    assert preselected(SamplingParams(top_k=40, repetition_penalty=0.9)) == 0
    assert preselected(SamplingParams(top_k=0)) == 0
    assert preselected(SamplingParams(top_k=40, dry_multiplier=1.0)) == 0
    assert preselected(SamplingParams(top_k=40, mirostat=2)) == 0
    assert preselected(SamplingParams(top_k=40, xtc_probability=0.5)) == 40


def one_at_a_time(rows: Rows, params: SamplingParams) -> list[int]:
    sampler = sampler_for(rows.shape[1])
    sampler.open(1, params, [3, 4])
    tokens = [sampler.sample(row[None], [one_row(1)])[1][0] for row in rows]
    sampler.close_all()
    return tokens


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(seed=5, temperature=0),
        SamplingParams(seed=5, temperature=1.5),
        SamplingParams(seed=5, top_k=0),
        SamplingParams(seed=5, repetition_penalty=1.5, temperature=1.5),
        SamplingParams(seed=5, mirostat=2),
        SamplingParams(seed=5, xtc_probability=0.5, xtc_threshold=0.0, temperature=2.0),
    ],
)
@pytest.mark.parametrize("right", range(5))
def test_drafts_give_what_one_at_a_time_gives(params: SamplingParams, right: int) -> None:
    rows = np.random.default_rng(2).standard_normal((12, 4096), np.float32) * 2
    expected = one_at_a_time(rows, params)
    drafts = [*expected[:right], *(token + 1 for token in expected[right:4])]
    sampler = sampler_for(4096)
    sampler.open(1, params, [3, 4])
    tokens = sampler.sample(rows[:5], [Work(1, 0, 0, (9, *drafts), 5)])[1]
    assert list(tokens) == expected[: right + 1]
    for row in rows[right + 1 :]:  # random numbers and penalties stand where they would stand
        tokens += sampler.sample(row[None], [one_row(1)])[1]
    assert list(tokens) == expected
    sampler.close_all()


def test_a_bias_bans_and_prefers(starter: StarterLogits) -> None:
    starter.restart()
    rows = starter.decode(starter.tokenize(TEXT)[:4])
    best = [int(token) for token in rows.argmax(axis=1)]
    sampler = sampler_for(starter.vocab_size)
    sampler.open(1, SamplingParams(temperature=0, logit_bias={best[0]: -math.inf, 77: 1000.0}), [])
    sampler.open(2, SamplingParams(temperature=0, logit_bias=dict.fromkeys(best, -math.inf)), [])
    sampler.open(3, SamplingParams(seed=1, logit_bias={88: 1000.0}), [])
    sampler.open(4, SamplingParams(temperature=0), [])
    chosen = sampler.sample(rows, [one_row(number) for number in (1, 2, 3, 4)])
    assert (chosen[1], chosen[3], chosen[4]) == ((77,), (88,), (best[3],))
    assert chosen[2][0] not in best
    sampler.close_all()


def test_log_probabilities_are_the_models_own_whatever_is_done_to_the_logits() -> None:
    rows = np.random.default_rng(3).standard_normal((3, 2048), np.float32) * 3
    expected = rows.astype(np.float64) - np.log(np.exp(rows.astype(np.float64)).sum(axis=1, keepdims=True))
    sampler = sampler_for(2048)
    sampler.open(1, SamplingParams(temperature=0, logprobs=3, logit_bias={5: 100.0}), [])
    sampler.open(2, SamplingParams(temperature=0, logprobs=0), [])
    sampler.open(3, SamplingParams(temperature=0), [])
    work = [one_row(1), one_row(2), one_row(3)]
    likelihood = sampler.logprobs(rows, work)
    found = likelihood(sampler.sample(rows, work))
    assert [*found] == [1, 2]
    (first,), (second,) = found[1], found[2]
    assert (first.token, first.logprob) == (5, pytest.approx(expected[0, 5], abs=1e-4))
    order = expected[0].argsort()[::-1][:3]
    assert first.top == tuple((int(token), pytest.approx(expected[0, token], abs=1e-4)) for token in order)
    assert (second.token, second.top) == (int(expected[1].argmax()), ())
    sampler.close_all()


def test_log_probabilities_of_accepted_drafts() -> None:
    rows = np.zeros((4, 512), np.float32)
    rows[0, 7] = rows[1, 8] = rows[2, 9] = rows[3, 1] = 5
    sampler = sampler_for(512)
    sampler.open(1, SamplingParams(temperature=0, logprobs=1), [])
    work = [Work(1, 0, 0, (1, 7, 8, 3), 4)]
    found = sampler.logprobs(rows, work)(sampler.sample(rows, work))[1]
    assert [(item.token, item.top[0][0]) for item in found] == [(7, 7), (8, 8), (9, 9)]
    sampler.close_all()


@pytest.mark.parametrize("ignore_eos", [False, True])
def test_an_accepted_end_of_turn_ends_the_drafts(ignore_eos: bool) -> None:
    rows = np.zeros((3, 512), np.float32)
    rows[0, 7] = rows[1, 8] = rows[2, 9] = 5
    sampler = sampler_for(512, eog=8)
    sampler.open(1, SamplingParams(temperature=0, ignore_eos=ignore_eos), [])
    assert sampler.sample(rows, [Work(1, 0, 0, (1, 7, 8), 3)])[1] == ((7, 8, 9) if ignore_eos else (7, 8))


def test_a_temperature_next_to_nothing_is_greedy() -> None:
    rows = np.random.default_rng(7).standard_normal((1, 4096), np.float32) * 30
    for penalty in (1.0, 1.1):
        sampler = sampler_for(4096)
        params = SamplingParams(seed=1, temperature=1e-40, repetition_penalty=penalty, top_p=1.0, min_p=0.0)
        sampler.open(1, params, [])
        assert sampler.sample(rows, [one_row(1)]) == {1: (int(rows.argmax()),)}
        sampler.close_all()


def test_rows_belong_to_the_work_in_its_order() -> None:
    rows = np.zeros((4, 512), np.float32)
    for row, token in zip(rows, (10, 11, 12, 13), strict=True):
        row[token] = 50
    sampler = sampler_for(512)
    for request_id, temperature in ((5, 0.0), (3, 1.0), (9, 0.0)):
        sampler.open(request_id, SamplingParams(seed=1, temperature=temperature), [])
    work = [one_row(5), Work(3, 0, 0, (1, 11), 2), one_row(9)]
    assert sampler.sample(rows, work) == {5: (10,), 3: (11, 12), 9: (13,)}
    with pytest.raises(ValueError, match="4 rows"):
        sampler.sample(rows[:3], work)
    sampler.close_all()


def test_threads_change_no_token_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(3).standard_normal((9, 4096), np.float32) * 2
    work = [one_row(i) for i in range(9)]
    before = threading.active_count()
    names: set[str] = set()
    draw = TokenDataArray.draw

    def spy(self: TokenDataArray, *args: Any) -> int:
        names.add(threading.current_thread().name)
        return draw(self, *args)

    monkeypatch.setattr(TokenDataArray, "draw", spy)
    chosen = []
    for threads in (1, 3):
        sampler = sampler_for(4096, threads=threads)
        for i in range(9):
            sampler.open(i, SamplingParams(seed=i, top_k=0 if i % 3 else 40), [])
        chosen.append([sampler.sample(rows, work) for _ in range(3)])
        assert (threading.active_count() > before) == (threads > 1)
        sampler.close_all()
    assert chosen[0] == chosen[1]
    assert len(names) > 1
    assert threading.active_count() == before


def test_a_single_slow_row_starts_no_thread() -> None:
    sampler = sampler_for(sampler_module._PARALLEL_LOGITS, threads=4)
    sampler.open(1, SamplingParams(seed=1, top_k=0), [])
    before = threading.active_count()
    sampler.sample(np.zeros((1, sampler_module._PARALLEL_LOGITS), np.float32), [one_row(1)])
    assert threading.active_count() == before
    sampler.close_all()


class Only:
    """A constraint that allows some tokens, and keeps what it was told."""

    def __init__(self, vocab_size: int, *allowed: int) -> None:
        self.allowed = np.zeros(vocab_size, np.bool_)
        self.allowed[list(allowed)] = True
        self.accepted: list[int] = []
        self.masks = 0

    def allows(self, token: int) -> bool:
        return bool(self.allowed[token])

    def mask(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        self.masks += 1
        return self.allowed

    def accept(self, token: int) -> None:
        assert self.allowed[token]
        self.accepted.append(token)


@pytest.mark.parametrize("params", [{"temperature": 0.0}, {}, {"top_k": 0}, {"repetition_penalty": 1.1}])
def test_only_what_a_constraint_allows_is_chosen(params: dict[str, Any]) -> None:
    rows = np.random.default_rng(4).standard_normal((20, 4096), np.float32)
    rows[10:, 17] = 50.0  # likeliest, and allowed: no mask is asked for
    constraint = Only(4096, 17, 90, 4000)
    sampler = sampler_for(4096)
    sampler.open(1, SamplingParams(seed=1, **params), [], constraint)
    tokens = [sampler.sample(row[None], [one_row(1)])[1][0] for row in rows]
    assert set(tokens) <= {17, 90, 4000}
    assert tokens[10:] == [17] * 10
    assert constraint.accepted == tokens
    if not params.get("temperature", 1.0):
        assert tokens == [int(row.argmax()) for row in rows]  # what is not allowed is at -inf
    assert len(set(tokens[:10])) > 1
    assert 0 < constraint.masks <= 10
    sampler.close_all()


def test_what_is_allowed_is_chosen_even_at_minus_infinity() -> None:
    rows = np.full((1, 4096), -np.inf, np.float32)
    rows[0, 5] = 1.0
    sampler = sampler_for(4096)
    sampler.open(1, SamplingParams(seed=1), [], Only(4096, 99))
    assert sampler.sample(rows, [one_row(1)]) == {1: (99,)}
    sampler.close_all()


def test_samplers_can_be_opened_again_and_closed_twice() -> None:
    rows = np.random.default_rng(5).standard_normal((1, 4096), np.float32)
    sampler = sampler_for(4096)
    firsts = []
    for _ in range(3):
        sampler.open(1, SamplingParams(seed=11, temperature=2.0), [])
        firsts.append([sampler.sample(rows, [one_row(1)])[1] for _ in range(5)])
    assert firsts[0] == firsts[1] == firsts[2]
    assert len(set(firsts[0])) > 1
    sampler.close(1)
    sampler.close(1)
    with pytest.raises(KeyError):
        sampler.sample(rows, [one_row(1)])
    sampler.close_all()


def test_many_parameter_sets_share_a_bounded_number_of_templates() -> None:
    sampler = sampler_for(4096)
    rows = np.random.default_rng(6).standard_normal((1, 4096), np.float32)
    for number in range(200):
        sampler.open(number, SamplingParams(seed=1, top_k=number + 1), [])
    assert len(sampler._templates._templates) <= 64
    assert sampler.sample(rows, [one_row(0)]) == {0: (int(rows.argmax()),)}
    sampler.close_all()
