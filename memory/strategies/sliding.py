"""The newest part of the chat, with a cut that stays put between evictions."""

from __future__ import annotations

from memory.strategies.base import Assembly, ContextInput
from memory.strategies.composer import Shares, compose

__all__ = ["SlidingStrategy"]


class SlidingStrategy:
    """Leaves the oldest exchanges out, many at a time."""

    name = "sliding"
    summary = "the newest messages that fit; the oldest go first, in chunks"
    searches = False
    summarises = False
    history_share = 1.0

    def assemble(self, given: ContextInput) -> Assembly:
        """The newest exchanges. Raises `BudgetTooSmall` when the newest message alone does not fit."""
        return compose(self.name, given, Shares())
