"""The statistics: sides run in turns, ratios are taken within a round, medians over the rounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Sequence as SequenceOf
from itertools import pairwise
from statistics import median, quantiles
from typing import TypeVar

from bench.cli import note

__all__ = ["Marks", "gaps_within", "interleave", "overlap_rate", "percentile", "ratio"]

T = TypeVar("T")

Marks = list[tuple[float, int]]  # when something came, in seconds, and how many tokens it was


async def interleave(
    rounds: int, runs: Mapping[str, Callable[[int], Awaitable[T]]], *, label: str = ""
) -> dict[str, list[T]]:
    """Run each side once per round, another one first each time: what slows the machine slows all.

    Args:
        runs: name -> a function of the round's number.
        label: what the progress lines begin with.
    """
    names = list(runs)
    results: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            results[name].append(await runs[name](number))
        latest = ", ".join(f"{name} {_short(results[name][-1])}" for name in names)
        note(f"  {label} round {number + 1} of {rounds}: {latest}")
    return results


def ratio(ours: SequenceOf[float], peer: SequenceOf[float]) -> float:
    """The median of the rounds' ratios."""
    return median(a / b for a, b in zip(ours, peer, strict=True))


def overlap_rate(answers: SequenceOf[Marks]) -> float:
    """Tokens per second while all answers are being written, from the last first token to the first end.

    Raises:
        ValueError: there is no such time.
    """
    begin = max(marks[0][0] for marks in answers)
    end = min(marks[-1][0] for marks in answers)
    if end <= begin:
        raise ValueError("The answers did not overlap: generate more tokens.")
    return sum(count for marks in answers for at, count in marks if begin < at <= end) / (end - begin)


def gaps_within(marks: Marks, begin: float, end: float) -> list[float]:
    """Seconds between one token and the next, of those pairs that reach into the window."""
    return [after - before for (before, _), (after, _) in pairwise(marks) if after > begin and before < end]


def percentile(values: SequenceOf[float], rank: int) -> float:
    """The value that `rank` percent of the others do not exceed."""
    return max(values) if len(values) < 2 else quantiles(values, n=100, method="inclusive")[rank - 1]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
