"""The newest part of the chat, with a cut that stays put between evictions."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

from memory.errors import BudgetTooSmall
from memory.strategies.base import Assembly, ContextInput
from memory.strategies.prompt import Branch, report_context

__all__ = ["SlidingStrategy"]

_KEPT_SHARE = 0.5
# Text alone is a little more than the prompt only for templates that trim it.
_SURELY_TOO_MUCH = 1.1


class SlidingStrategy:
    """Leaves the oldest exchanges out, many at a time.

    Dropping one exchange per turn would change the start of every prompt and with it void the model's
    KV cache each time. So an eviction goes down to half of the budget, and then the prompt only
    grows at its end until the budget is exceeded again.
    """

    name = "sliding"
    summary = "the newest part of the chat; the oldest exchanges are left out when it no longer fits"

    def assemble(self, given: ContextInput) -> Assembly:
        """The newest exchanges. Raises `BudgetTooSmall` when the newest message alone does not fit."""
        branch = Branch(given)
        fit = _Fit(given, branch)
        start = fit.remembered_start()
        if not fit.is_hopeless(start):
            tokens = fit.tokens(start)
            if tokens <= given.budget.tokens:
                return Assembly(report_context(self.name, given, branch, start, tokens))
        first = fit.evict(start)
        tokens = fit.tokens(first)
        if tokens > given.budget.tokens:
            raise BudgetTooSmall(
                "The newest message takes, with the system prompt,",
                tokens,
                given.budget.tokens,
                "Shorten it, or switch to a model with a larger context.",
            )
        cut = branch.exchanges[first][0].id if first > start else None
        return Assembly(report_context(self.name, given, branch, first, tokens), cut)


class _Fit:
    """Measures the prompts that begin at one exchange or another."""

    def __init__(self, given: ContextInput, branch: Branch) -> None:
        self._given = given
        self._branch = branch
        self._last = max(0, len(branch.exchanges) - 1)
        sizes = [sum(given.counter.count_text(item.content) for item in items) for items in branch.exchanges]
        # _after[i]: text tokens of exchange i and all that follow.
        self._after = list(accumulate(reversed(sizes)))[::-1]
        self._measured: dict[int, int] = {}

    def remembered_start(self) -> int:
        """The exchange of the latest cut on this branch; 0 without one."""
        for number in range(self._last, 0, -1):
            if self._branch.exchanges[number][0].id in self._given.cuts:
                return number
        return 0

    def is_hopeless(self, start: int) -> bool:
        """Whether the text alone is too much: spares rendering a prompt of a million tokens."""
        return start < self._last and self._after[start] > self._given.budget.tokens * _SURELY_TOO_MUCH

    def tokens(self, start: int) -> int:
        """Exact size of the prompt that begins with exchange `start`."""
        if start not in self._measured:
            turns = self._branch.turns(start)
            self._measured[start] = self._given.counter.count_prompt(turns) if turns else 0
        return self._measured[start]

    def evict(self, start: int) -> int:
        """The first exchange to keep so that about half of the budget is used."""
        target = int(self._given.budget.tokens * _KEPT_SHARE)
        likely = next((i for i in range(start, self._last) if self._after[i] <= target), self._last)
        candidates = range(likely, self._last + 1)
        first = candidates[
            min(bisect_left(candidates, True, key=lambda i: self.tokens(i) <= target), len(candidates) - 1)
        ]
        # A long question must not cost the exchange that it most likely refers to.
        if first == self._last > start and self.tokens(self._last - 1) <= self._given.budget.tokens:
            return self._last - 1
        return first
