"""Everything that was said."""

from __future__ import annotations

from dataclasses import replace

from memory.errors import BudgetTooSmall
from memory.strategies.base import Assembly, ContextInput
from memory.strategies.composer import Shares
from memory.strategies.report import report_context
from memory.strategies.sizes import Sizes

__all__ = ["FullStrategy"]


class FullStrategy:
    """Sends the whole branch or says that it does not fit."""

    name = "full"
    summary = "everything; refuses to answer when it no longer fits"
    searches = False
    summarises = False
    history_share = 1.0

    def assemble(self, given: ContextInput) -> Assembly:
        """All messages. Raises `BudgetTooSmall` when they exceed the budget."""
        limit = given.budget.tokens
        sizes = Sizes(given, profile=int(limit * Shares().profile), summary=0)
        draft = sizes.draft(0)
        tokens = sizes.tokens(0)
        if tokens > limit and draft.profile.text:
            draft = replace(draft, profile=draft.profile.given_up())
            tokens = sizes.measure(draft)
        if tokens > limit:
            raise BudgetTooSmall(
                "The whole chat takes",
                tokens,
                limit,
                "Switch to the sliding strategy, or to a model with a larger context.",
            )
        return Assembly(report_context(self.name, given, sizes.branch, draft, tokens))
