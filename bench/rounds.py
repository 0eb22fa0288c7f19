"""Sides run in turns, so that load on the machine affects all; and the arithmetic of what a round measures.

Where values come in groups that resemble each other, such as the questions about one conversation, `interval`
gives the confidence interval of their mean.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import mean, quantiles
from typing import TypeVar

from bench.cli import note
from bench.ratios import Limits, Ratio

__all__ = [
    "Marks",
    "gaps_within",
    "interleave",
    "interval",
    "overlap_rate",
    "percent",
    "percentile",
]

T = TypeVar("T")

Marks = list[tuple[float, int]]  # (arrival time in seconds, number of tokens)

_RESAMPLES = 2000


async def interleave(
    limits: Limits,
    runs: Mapping[str, Callable[[int], Awaitable[T]]],
    ratios: Callable[[Mapping[str, list[T]]], Iterable[Ratio]] = lambda results: (),
    *,
    label: str = "",
) -> dict[str, list[T]]:
    """Run each side once per round, starting with a different one each time: load affects all equally.

    Args:
        limits: how many rounds there may be.
        runs: name -> a function of the round's number.
        ratios: what the results so far have to resolve; see `Limits.numbers`.
        label: the start of the progress lines.
    """
    names = list(runs)
    results: dict[str, list[T]] = {name: [] for name in names}
    for number in limits.numbers(lambda: ratios(results)):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            results[name].append(await runs[name](number))
        latest = ", ".join(f"{name} {_short(results[name][-1])}" for name in names)
        note(f"  {label} round {number + 1}: {latest}")
    return results


def overlap_rate(answers: Sequence[Marks]) -> float:
    """Tokens per second while all answers stream: from the last first token to the first end.

    Raises:
        ValueError: the answers did not overlap.
    """
    begin = max(marks[0][0] for marks in answers)
    end = min(marks[-1][0] for marks in answers)
    if end <= begin:
        raise ValueError("The answers did not overlap: generate more tokens.")
    return sum(count for marks in answers for at, count in marks if begin < at <= end) / (end - begin)


def gaps_within(marks: Marks, begin: float, end: float) -> list[float]:
    """Seconds between consecutive tokens, for the pairs that reach into the window."""
    return [after - before for (before, _), (after, _) in pairwise(marks) if after > begin and before < end]


def percentile(values: Sequence[float], rank: int) -> float:
    """The value that `rank` percent of the values do not exceed."""
    return max(values) if len(values) < 2 else quantiles(values, n=100, method="inclusive")[rank - 1]


def percent(values: Iterable[float]) -> float:
    """Their mean in percent, to one decimal."""
    return round(100 * mean(values), 1)


def interval(groups: Mapping[str, Sequence[float]]) -> list[float]:
    """The 95% interval of the mean in percent, resampling groups and then values within them.

    The hierarchical bootstrap (Davison and Hinkley 1997, section 3.8), 2,000 times.
    """
    chance = random.Random(0)
    means = [_mean_of_a_draw(groups.values(), chance) for _ in range(_RESAMPLES)]
    cuts = quantiles(means, n=40)
    return [round(100 * cuts[0], 1), round(100 * cuts[-1], 1)]


def _mean_of_a_draw(groups: Collection[Sequence[float]], chance: random.Random) -> float:
    drawn = chance.choices(list(groups), k=len(groups))
    return mean(value for values in drawn for value in chance.choices(values, k=len(values)))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
