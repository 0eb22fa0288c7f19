"""Everything that was said."""

from __future__ import annotations

from memory.errors import BudgetTooSmall
from memory.strategies.base import Assembly, ContextInput
from memory.strategies.prompt import Branch, report_context

__all__ = ["FullStrategy"]


class FullStrategy:
    """Sends the whole branch or says that it does not fit."""

    name = "full"
    summary = "the whole chat; stops with a clear message when it no longer fits"

    def assemble(self, given: ContextInput) -> Assembly:
        """All messages. Raises `BudgetTooSmall` when they exceed the budget."""
        branch = Branch(given)
        turns = branch.turns(0)
        tokens = given.counter.count_prompt(turns) if turns else 0
        if tokens > given.budget.tokens:
            raise BudgetTooSmall(
                "The whole chat takes",
                tokens,
                given.budget.tokens,
                "Switch to the sliding strategy, or to a model with a larger context.",
            )
        return Assembly(report_context(self.name, given, branch, 0, tokens))
