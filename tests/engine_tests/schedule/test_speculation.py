"""Drafts from a sequence's own text: which tokens they are, and when they pay."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.schedule import speculation
from engine.schedule.costs import StepCosts
from engine.schedule.sequence import TokenSequence
from engine.schedule.speculation import NgramIndex, Speculator
from engine.types import SamplingParams

PHRASE = [5, 6, 7, 8, 9, 10, 11, 12]


def indexed(tokens: list[int]) -> NgramIndex:
    index = NgramIndex(tokens)
    while not index.extend():
        pass
    return index


def costs_of(*, decode_s: float, draft_s: float, decodes: int = 1) -> StepCosts:
    """A machine on which `decodes` sequences decode in decode_s, and each draft adds draft_s."""
    costs = StepCosts(target_s=0.1)
    costs.record_step(decodes=0, prefill=100, drafts=0, seconds=100 * draft_s)
    costs.record_step(decodes=decodes, prefill=0, drafts=0, seconds=decode_s)
    return costs


CHEAP = costs_of(decode_s=0.010, draft_s=0.002)  # a draft pays if it is right once in five times


def make_speculator(
    mode: Literal["auto", "on", "off"] = "auto", *, most: int = 6, costs: StepCosts = CHEAP
) -> Speculator:
    return Speculator(mode, most=most, costs=costs)


def sequence_of(tokens: list[int]) -> TokenSequence:
    return TokenSequence(1, list(tokens), SamplingParams())


class Run:
    """Decodes a text that is known in advance, one step after the other."""

    def __init__(self, speculator: Speculator, prompt: list[int], answer: list[int]) -> None:
        self.speculator = speculator
        self.sequence = sequence_of(prompt)
        self.answer = answer
        self.drafted = self.accepted = self.steps = 0
        self.drafts: list[int] = []  # how many in each step

    def step(self, decodes: int = 1) -> None:
        done = self.sequence.completion_tokens
        rest = self.answer[done:]
        drafts = self.speculator.drafts(self.sequence, room=len(rest) - 1, decodes=decodes)
        right = 0
        while right < len(drafts) and drafts[right] == rest[right]:
            right += 1
        if drafts:
            self.speculator.record(self.sequence.request_id, len(drafts), right)
        self.sequence.tokens += rest[: right + 1]
        self.drafted += len(drafts)
        self.accepted += right
        self.steps += 1
        self.drafts.append(len(drafts))

    def all(self, decodes: int = 1) -> Run:
        while self.sequence.completion_tokens < len(self.answer):
            self.step(decodes)
        return self


def repetitive(count: int) -> list[int]:
    return (PHRASE * count)[:count]


def misleading(count: int, seed: int = 1) -> list[int]:
    """Pairs that repeat all the time, and are never followed by the same token twice."""
    random = Random(seed)
    text: list[int] = []
    while len(text) < count:
        text += [1, 2, random.randrange(100, 10**6)]
    return text[:count]


# --- the index ---


def test_what_followed_the_latest_occurrence_is_proposed() -> None:
    tokens = [1, 2, 3, 40, 50, 60, 1, 2, 3, 41, 51, 61, 9, 1, 2, 3]
    assert indexed(tokens).propose(3) == ([41, 51, 61], 3)


def test_the_longest_suffix_wins_over_the_latest() -> None:
    tokens = [7, 1, 2, 3, 40, 50, 1, 2, 3, 41, 2, 3, 42, 7, 1, 2, 3]
    assert indexed(tokens).propose(2) == ([40, 50], 4)


def test_nothing_is_proposed_for_two_tokens_that_are_new() -> None:
    assert indexed([1, 2, 3, 1, 3]).propose(4) == ([], 0)
    assert indexed([]).propose(4) == ([], 0)
    assert indexed([1]).propose(4) == ([], 0)
    assert indexed([1, 1]).propose(4) == ([], 0)
    assert indexed([1, 2, 1, 2]).propose(0) == ([], 0)


def test_a_repetition_at_the_end_repeats() -> None:
    assert indexed([9, 1, 2, 1, 2]).propose(5) == ([1, 2, 1, 2, 1], 2)
    assert indexed([9, 4, 4, 4]).propose(3) == ([4, 4, 4], 2)


def brute_force(tokens: list[int], limit: int) -> tuple[list[int], int]:
    for length in (4, 3, 2):
        for end in range(len(tokens) - 1, length - 1, -1):
            if len(tokens) >= length and tokens[end - length : end] == tokens[-length:]:
                circle = tokens[end:]
                return [circle[i % len(circle)] for i in range(limit)], length
    return [], 0


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 3), max_size=20), st.integers(1, 12))
def test_the_index_grows_with_the_text_and_finds_what_a_search_finds(
    start: list[int], more: list[int], limit: int
) -> None:
    tokens = list(start)
    index = indexed(tokens)
    assert index.propose(limit) == brute_force(tokens, limit)
    for token in more:
        tokens.append(token)
        assert index.extend()
        assert index.propose(limit) == brute_force(tokens, limit)


def test_a_long_prompt_is_indexed_a_piece_at_a_time() -> None:
    index = NgramIndex(repetitive(1000))
    assert [index.extend(400), index.extend(400), index.extend(400)] == [False, False, True]


def test_of_a_very_long_prompt_only_the_end_is_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculation, "_INDEXED", 100)
    early = [*PHRASE, *range(100, 400), *PHRASE[:3]]
    assert indexed(early).propose(3) == ([], 0)
    late = [*range(100, 400), *PHRASE, *range(500, 540), *PHRASE[:3]]
    assert indexed(late).propose(3) == (PHRASE[3:6], 3)


# --- when to draft ---


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_repetitive_text_takes_fewer_steps(mode: Literal["auto", "on"]) -> None:
    run = Run(make_speculator(mode), repetitive(20), repetitive(420)[20:]).all()
    assert run.steps < 400 / 4
    assert run.accepted == run.drafted


def test_off_never_drafts() -> None:
    run = Run(make_speculator("off"), repetitive(20), repetitive(100)).all()
    assert run.drafts == [0] * 100


def test_on_drafts_all_it_may_however_often_it_is_rejected() -> None:
    run = Run(make_speculator("on", most=4), misleading(300), misleading(300, seed=2)).all()
    assert set(run.drafts[:-5]) == {0, 4}
    assert run.accepted < 0.3 * run.drafted


def test_room_is_respected() -> None:
    sequence = sequence_of(repetitive(40))
    assert len(make_speculator("on").drafts(sequence, room=3, decodes=1)) == 3
    assert len(make_speculator().drafts(sequence, room=1, decodes=1)) == 1
    assert make_speculator("on").drafts(sequence, room=0, decodes=1) == ()
    assert make_speculator("on").drafts(sequence, room=-2, decodes=1) == ()


def test_misleading_text_turns_it_off_but_for_a_probe_now_and_then() -> None:
    run = Run(make_speculator(), misleading(300), misleading(3000, seed=2)).all()
    assert run.drafted < 0.03 * 3000
    assert sum(run.drafts[1500:]) > 0


def test_text_that_becomes_repetitive_turns_it_on_again() -> None:
    answer = [*misleading(900, seed=2), *repetitive(1500)]
    run = Run(make_speculator(), misleading(300), answer)
    while run.sequence.completion_tokens < 900:
        run.step()
    steps = run.steps
    run.all()
    assert run.steps - steps < 1500 / 3


def test_an_accepted_probe_is_followed_by_the_next_immediately() -> None:
    costs = costs_of(decode_s=0.010, draft_s=0.006)
    random = Random(5)
    answer: list[int] = []
    while len(answer) < 3000:
        answer += [1, 2, 3, 4, random.randrange(100, 10**6)]
    run = Run(make_speculator(costs=costs), [], [*answer, *repetitive(1500)])
    while run.sequence.completion_tokens < len(answer):
        run.step()
    before = run.steps
    run.all()
    drafting = [step for step in range(before, run.steps) if run.drafts[step]]
    first = next(step for step in drafting if run.drafts[step] == 2)
    assert drafting[drafting.index(first) + 1] == first + 1
    assert max(run.drafts[first : first + 8]) == 6


def test_long_matches_are_trusted_when_short_ones_mislead() -> None:
    random = Random(3)
    quote = [random.randrange(1000) for _ in range(40)]
    answer: list[int] = []
    for number in range(20):
        answer += [*misleading(60, seed=number), *quote]
    run = Run(make_speculator(), quote, answer).all()
    assert run.steps < len(answer) - 20 * 40 * 0.6


@pytest.mark.parametrize(("draft_s", "drafts"), [(0.001, True), (0.0099, False), (0.05, False)])
def test_the_costs_decide(draft_s: float, drafts: bool) -> None:
    costs = costs_of(decode_s=0.010, draft_s=draft_s)
    run = Run(make_speculator(costs=costs), repetitive(20), repetitive(400)).all()
    assert (run.drafted > 0) == drafts


def test_a_change_of_the_costs_flips_it() -> None:
    costs = costs_of(decode_s=0.010, draft_s=0.002)
    run = Run(make_speculator(costs=costs), repetitive(20), repetitive(4000))
    for _ in range(20):
        run.step()
    assert run.drafts[-1] == 6
    for _ in range(60):
        costs.record_step(decodes=1, prefill=0, drafts=6, seconds=0.09)
        costs.record_step(decodes=1, prefill=0, drafts=0, seconds=0.010)
    run.step()
    assert run.drafts[-1] == 0
    for _ in range(60):
        costs.record_step(decodes=1, prefill=0, drafts=6, seconds=0.016)
        costs.record_step(decodes=1, prefill=0, drafts=0, seconds=0.010)
    run.step()
    assert run.drafts[-1] == 6


def test_a_wide_batch_on_a_cpu_does_not_draft() -> None:
    costs = costs_of(decode_s=0.008 + 16 * 0.002, draft_s=0.002, decodes=16)  # 2.5 ms per token
    run = Run(make_speculator(costs=costs), repetitive(20), repetitive(400)).all(decodes=16)
    unsure = Run(make_speculator(costs=costs), misleading(300), misleading(300, seed=2)).all(decodes=16)
    assert run.drafted > 0
    assert unsure.drafted < 0.1 * 300
    costs.record_step(decodes=64, prefill=0, drafts=0, seconds=64 * 0.002)
    assert make_speculator(costs=costs).drafts(sequence_of(repetitive(50)), room=6, decodes=64) == ()


def half_right(count: int) -> list[int]:
    """Each pair continues in one of two ways."""
    random = Random(4)
    text: list[int] = []
    while len(text) < count:
        text += [1, 2, 3, 4, random.choice([5, 6])]
    return text[:count]


def test_the_surer_it_is_the_more_it_drafts() -> None:
    costs = costs_of(decode_s=0.010, draft_s=0.005)
    sure = Run(make_speculator(costs=costs), repetitive(20), repetitive(800)).all()
    unsure = Run(make_speculator(costs=costs), half_right(100), half_right(800)).all()
    sure_mean = sure.drafted / sum(count > 0 for count in sure.drafts)
    unsure_mean = unsure.drafted / sum(count > 0 for count in unsure.drafts)
    assert unsure_mean < 0.8 * sure_mean


@pytest.mark.parametrize("text", [repetitive, misleading, half_right])
@pytest.mark.parametrize("draft_s", [0.0005, 0.002, 0.006])
def test_auto_is_never_much_slower_than_not_drafting(
    text: Callable[[int], list[int]], draft_s: float
) -> None:
    costs = costs_of(decode_s=0.010, draft_s=draft_s)
    run = Run(make_speculator(costs=costs), text(300), text(3000)).all()
    assert run.steps * 0.010 + run.drafted * draft_s < 1.02 * 3000 * 0.010


def test_a_step_without_drafts_teaches_nothing() -> None:
    speculator = make_speculator(costs=costs_of(decode_s=0.010, draft_s=0.009))
    sequence = sequence_of(repetitive(50))
    assert speculator.drafts(sequence, room=6, decodes=1) != ()
    speculator.record(1, 2, 0)
    sequence.tokens.append(PHRASE[50 % 8])
    assert speculator.drafts(sequence, room=6, decodes=1) == ()
    speculator.record(1, 0, 0)
    assert speculator.drafts(sequence, room=6, decodes=1) == ()


def test_a_closed_request_is_forgotten_and_late_news_of_it_are_ignored() -> None:
    speculator = make_speculator()
    Run(speculator, repetitive(20), repetitive(50)).all()
    speculator.close(1)
    speculator.record(1, 3, 3)
    speculator.close(1)
    assert not speculator._requests
