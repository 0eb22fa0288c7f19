"""All layers: profile, summary, the newest exchanges, and memories that fit the question."""

from __future__ import annotations

from dataclasses import replace

from memory.strategies.base import Assembly, ContextInput
from memory.strategies.composer import FEW_MEMORIES, Shares, compose
from memory.strategies.cues import asks, last_question

__all__ = ["HierarchicalStrategy"]

# A quarter of what is free, at least an eighth of the prompt: memories have to be read anew in each turn, and
# with a quarter of every prompt a long chat would read three times as much.
_SHARES = Shares(summary=0.15, memories=0.125, spare_memories=0.25, most_memories=1024)
_WHEN_TOLD = 0.5  # of the share for memories


class HierarchicalStrategy:
    """Divides the prompt into layers, as MemGPT (Packer et al., 2023) divides a small context.

    A message that asks nothing gets half as many memories as a question in a full prompt.

    Args:
        shares: an eighth for memories by default, twice as much in a new chat, up to 1,024 tokens: more of
            them dilute the question.
    """

    name = "hierarchical"
    summary = "newest messages, summaries of older ones, what fits the question"
    searches = True
    summarises = True

    def __init__(self, shares: Shares | None = None) -> None:
        self._shares = shares or _SHARES
        self.history_share = self._shares.history

    def assemble(self, given: ContextInput) -> Assembly:
        """All layers. Raises `BudgetTooSmall` when the newest message alone does not fit."""
        return compose(self.name, given, self._shares if asks(last_question(given)) else self._told(given))

    def _told(self, given: ContextInput) -> Shares:
        most = max(int(given.budget.tokens * self._shares.memories * _WHEN_TOLD), FEW_MEMORIES)
        if self._shares.most_memories is not None:
            most = min(most, self._shares.most_memories)
        return replace(self._shares, most_memories=most)
