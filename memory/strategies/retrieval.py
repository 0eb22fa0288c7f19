"""What fits the question, wherever it was said, and a little of what was said last."""

from __future__ import annotations

from memory.strategies.base import Assembly, ContextInput
from memory.strategies.composer import Shares, compose

__all__ = ["RetrievalStrategy"]


class RetrievalStrategy:
    """Keeps a quarter of the prompt for the newest exchanges; memories get the rest.

    Most of the prompt is new in each turn, so the model's KV cache saves little.
    """

    name = "retrieval"
    summary = "what fits the question from all chats, and the last messages"
    searches = True
    summarises = False

    def __init__(self, shares: Shares | None = None) -> None:
        self._shares = shares or Shares(memories=0.75, most_memories=None)
        self.history_share = self._shares.history

    def assemble(self, given: ContextInput) -> Assembly:
        """Memories and newest exchanges. Raises `BudgetTooSmall` when the newest message does not fit."""
        return compose(self.name, given, self._shares)
