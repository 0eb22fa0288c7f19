"""The newest part of the chat, and what came before it in short."""

from __future__ import annotations

from memory.strategies.base import Assembly, ContextInput
from memory.strategies.composer import Shares, compose

__all__ = ["SummaryStrategy"]


class SummaryStrategy:
    """Sends summaries in place of the exchanges that were left out."""

    name = "summary"
    summary = "summaries of what no longer fits, and the newest messages"
    searches = False
    summarises = True

    def __init__(self, shares: Shares | None = None) -> None:
        self._shares = shares or Shares(summary=0.15)
        self.history_share = self._shares.history

    def assemble(self, given: ContextInput) -> Assembly:
        """Summary and newest exchanges. Raises `BudgetTooSmall` when the newest message does not fit."""
        return compose(self.name, given, self._shares)
