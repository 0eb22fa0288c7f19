"""How a comparison is told, and when it stops, with synthetic numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from math import comb

import pytest

from bench.ratios import LEAST_ROUNDS, Limits, Ratio, median_interval


def covered(rounds: int) -> float:
    """How often the interval of so many values covers the median: the median's place in it is binomial."""
    low, high = median_interval(list(range(rounds)))
    return float(sum(comb(rounds, below) for below in range(int(low) + 1, int(high) + 1)) / 2**rounds)


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was ten times slower in the second round: medians first would give 10 / 10.
    assert Ratio.between([10.0, 1.0, 12.0], [10.0, 2.0, 6.0]).median == 1.0
    assert Ratio.between([10.0, 1.0, 1.0], [5.0, 10.0, 2.0]).median == 0.5


def test_the_interval_is_of_order_statistics() -> None:
    # Conover, Practical Nonparametric Statistics, table of the binomial distribution with p = 1/2.
    places = {6: (0, 5), 8: (0, 7), 9: (1, 7), 12: (2, 9), 20: (5, 14), 30: (9, 20)}
    for rounds, interval in places.items():
        values = list(range(rounds))
        random.Random(rounds).shuffle(values)
        assert median_interval(values) == interval


@pytest.mark.parametrize("rounds", range(LEAST_ROUNDS, 60))
def test_the_interval_covers_the_median_with_about_95_percent(rounds: int) -> None:
    assert 0.95 <= covered(rounds) <= 0.993


def test_with_few_rounds_the_interval_is_all_values() -> None:
    assert median_interval([3.0]) == (3.0, 3.0)
    assert median_interval([3.0, 1.0, 2.0, 5.0, 4.0]) == (1.0, 5.0)
    assert covered(LEAST_ROUNDS - 1) < 0.95


def test_one_bad_round_moves_neither_median_nor_interval() -> None:
    calm = [1.00, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08]
    assert Ratio.of([*calm[:-1], 9.0]) == Ratio.of(calm) == Ratio(1.04, 1.01, 1.07, 9)


def test_resolved_is_one_percent_to_each_side_of_six_rounds() -> None:
    assert Ratio(0.5, 0.496, 0.505, 6).resolved
    assert not Ratio(0.5, 0.494, 0.506, 6).resolved
    assert not Ratio(0.5, 0.5, 0.5, 5).resolved
    assert Ratio(-2.0, -2.015, -1.985, 6).resolved


def test_a_document_has_ratio_spread_and_rounds() -> None:
    ratio = Ratio(0.96543, 0.95, 0.98, 7)
    assert ratio.entry() == {"ratio": 0.9654, "spread": [0.95, 0.98], "rounds": 7}
    assert str(ratio) == "0.965 (0.950 to 0.980)"
    keys = {
        "gap_ratio_512": "gap_spread_512",
        "ratio_decode": "spread_decode",
        "bare_ratio": "bare_spread",
        "step_beyond_ms": "step_beyond_spread",
        "python_share": "python_spread",
    }
    for name, spread in keys.items():
        assert list(ratio.entry(name)) == [name, spread, "rounds"]
        assert Ratio.read(ratio.entry(name), name) == Ratio(0.9654, 0.95, 0.98, 7)


def rounds_of(values: Iterator[float], limits: Limits, clock: Iterator[float] | None = None) -> int:
    """How many rounds are run whose ratios are these values."""
    seen: list[float] = []
    ticks = clock or count(0.0, 0.0)
    for _ in limits.numbers(lambda: [Ratio.of(seen)], lambda: next(ticks)):
        seen.append(next(values))
    return len(seen)


def test_calm_rounds_stop_as_soon_as_an_interval_exists() -> None:
    assert rounds_of(iter([1.0] * 99), Limits(30)) == LEAST_ROUNDS


def test_rounds_go_on_until_the_interval_is_narrow() -> None:
    # Two of the rounds are 3 % off; from nine rounds on, one on each side is outside of the interval.
    values = [0.97, 1.0, 1.03, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert rounds_of(iter(values), Limits(30)) == 9


def test_noise_that_never_calms_down_ends_at_the_limit() -> None:
    assert rounds_of(iter([0.9, 1.1] * 50), Limits(30)) == 30
    assert rounds_of(iter([0.9, 1.1] * 50), Limits(2)) == 2


def test_no_round_begins_after_the_time_is_over() -> None:
    # The clock is read at the start and before each round: one second per round.
    assert rounds_of(iter([0.9, 1.1] * 50), Limits(30, seconds=10.0), count(0.0)) == 9
    assert rounds_of(iter([0.9, 1.1] * 50), Limits(30, seconds=2.0), count(0.0)) == LEAST_ROUNDS


def test_all_ratios_must_be_resolved() -> None:
    narrow, wide = Ratio(1.0, 1.0, 1.0, 9), Ratio(1.0, 0.9, 1.1, 9)
    assert len(list(Limits(20).numbers(lambda: [narrow, wide]))) == 20
    assert len(list(Limits(20).numbers(lambda: [narrow, narrow]))) == LEAST_ROUNDS
    assert len(list(Limits(20).numbers())) == LEAST_ROUNDS


def test_one_percent_of_noise_is_resolved_in_a_dozen_rounds_or_so() -> None:
    chance = random.Random(1)
    needed = sorted(rounds_of(iter(lambda: chance.gauss(1.0, 0.01), None), Limits(60)) for _ in range(200))
    assert 6 <= needed[100] <= 15
    assert needed[-1] < 60
