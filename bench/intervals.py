"""Confidence intervals where measurements come in groups that resemble each other: conversations."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import mean, quantiles

__all__ = ["interval", "percent"]

_RESAMPLES = 2000


def percent(values: Iterable[float]) -> float:
    """Their mean in percent, to one decimal."""
    return round(100 * mean(values), 1)


def interval(groups: Mapping[str, Sequence[float]]) -> list[float]:
    """95 % of the means, in percent, when groups are drawn again and, within them, values.

    The hierarchical bootstrap (Davison and Hinkley 1997, section 3.8), 2,000 times.
    """
    chance = random.Random(0)
    means = [_mean_of_a_draw(groups.values(), chance) for _ in range(_RESAMPLES)]
    cuts = quantiles(means, n=40)
    return [round(100 * cuts[0], 1), round(100 * cuts[-1], 1)]


def _mean_of_a_draw(groups: Collection[Sequence[float]], chance: random.Random) -> float:
    drawn = chance.choices(list(groups), k=len(groups))
    return mean(value for values in drawn for value in chance.choices(values, k=len(values)))
