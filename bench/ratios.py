"""How a comparison is reported (the median of the rounds' ratios, with its spread), and how long it takes.

The spread is the interval between two order statistics that covers the median with about 95%, whatever the
distribution (David and Nagaraja, Order Statistics, 2003, section 7.1). A slow round is one value among
others there, while it would shift a mean and its deviation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb, inf
from statistics import median
from time import perf_counter
from typing import Any, Self

__all__ = ["LEAST_ROUNDS", "Limits", "Ratio", "median_interval"]

_TAIL = 0.025  # of each side
_RESOLUTION = 0.01  # half the width of the interval, as a share of the median
LEAST_ROUNDS = 6  # with fewer, even the smallest and the largest value cover the median with less than 95%


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The interval that covers the median of the distribution with at least 95%, or all values if fewer than
    six were drawn.

    The number of values below the median is binomial. So the interval from the k-th smallest to the k-th
    largest value misses it with twice the probability of fewer than k heads in as many tosses of a coin.
    """
    ordered = sorted(values)
    count = len(ordered)
    cut, tail = 0, 1
    while (tail := tail + comb(count, cut + 1)) / 2**count <= _TAIL:
        cut += 1
    return ordered[cut], ordered[-1 - cut]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the rounds' ratios, and its spread. A difference between two sides is reported
    the same way.

    Args:
        low, high: see `median_interval`.
        rounds: how many there were.
    """

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def between(cls, ours: Iterable[float], peer: Iterable[float]) -> Self:
        """Ours over the peer's, round by round: a round's load affects both."""
        return cls.of([a / b for a, b in zip(ours, peer, strict=True)])

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """One value per round."""
        low, high = median_interval(values)
        return cls(median(values), low, high, len(values))

    @classmethod
    def read(cls, result: Mapping[str, Any], name: str = "ratio") -> Self:
        """What `entry` wrote."""
        low, high = result[_spread(name)]
        return cls(result[name], low, high, result["rounds"])

    def entry(self, name: str = "ratio") -> dict[str, Any]:
        """The part of a JSON document: `ratio`, `spread` and `rounds`.

        Args:
            name: another key, such as gap_ratio, whose spread is gap_spread.
        """
        spread = [round(self.low, 4), round(self.high, 4)]
        return {name: round(self.median, 4), _spread(name): spread, "rounds": self.rounds}

    @property
    def resolved(self) -> bool:
        """Whether the interval is at most 1% to each side."""
        narrow = self.high - self.low <= 2 * _RESOLUTION * abs(self.median)
        return narrow and self.rounds >= LEAST_ROUNDS

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to measure.

    Args:
        rounds: the most there may be.
        seconds: no round after the sixth begins later than this.
    """

    rounds: int
    seconds: float = inf

    def numbers(
        self, ratios: Callable[[], Iterable[Ratio]] = tuple, clock: Callable[[], float] = perf_counter
    ) -> Iterator[int]:
        """Count the rounds until all ratios are resolved, or a limit is reached.

        Looking after each round makes it a little likelier to stop on an interval that is narrow by chance.

        Args:
            ratios: of the rounds so far; without any, six rounds are enough.
        """
        begin = clock()
        for number in range(self.rounds):
            spent = clock() - begin >= self.seconds
            if number >= LEAST_ROUNDS and (spent or all(ratio.resolved for ratio in ratios())):
                return
            yield number


def _spread(name: str) -> str:
    """The key of the spread that belongs to a value."""
    return re.sub(r"(ratio|share|ms)(?=_|$)", "spread", name)
