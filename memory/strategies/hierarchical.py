"""All layers: profile, summary, the newest exchanges, and memories that fit the question."""

from __future__ import annotations

from memory.strategies.base import Assembly, ContextInput
from memory.strategies.composer import Shares, compose

__all__ = ["HierarchicalStrategy"]


class HierarchicalStrategy:
    """Divides the prompt into layers, as MemGPT (Packer et al., 2023) divides a small context.

    Args:
        shares: a quarter for memories by default, up to 1,024 tokens: more of them dilute the
            question and have to be read anew in each turn.
    """

    name = "hierarchical"
    summary = "newest messages, summaries of older ones, what fits the question"
    searches = True
    summarises = True

    def __init__(self, shares: Shares | None = None) -> None:
        self._shares = shares or Shares(summary=0.15, memories=0.25, most_memories=1024)
        self.history_share = self._shares.history

    def assemble(self, given: ContextInput) -> Assembly:
        """All layers. Raises `BudgetTooSmall` when the newest message alone does not fit."""
        return compose(self.name, given, self._shares)
