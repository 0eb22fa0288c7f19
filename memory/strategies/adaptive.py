"""All layers, in shares that move with the question, the fill and the engine's load."""

from __future__ import annotations

from memory.strategies.base import Assembly, ContextInput
from memory.strategies.composer import Shares, compose
from memory.strategies.cues import Focus, focus_of, last_question

__all__ = ["AdaptiveStrategy"]

# By what the question turns to: what the history must leave to memories, and the most they may take.
_RESERVED: dict[Focus, float] = {"past": 0.4, "plain": 0.125, "follow-up": 0.0}
_MOST: dict[Focus, float] = {"past": 0.5, "plain": 0.125, "follow-up": 0.05}
_CAP: dict[Focus, int] = {"past": 1536, "plain": 1024, "follow-up": 256}
# What a saturated engine takes off the prompt, and off the memories once more.
_LOAD_OFF_PROMPT = 0.4
_LOAD_OFF_MEMORIES = 0.5


class AdaptiveStrategy:
    """Decides anew for each question how much of the prompt goes to memories and how much to the history.

    - The question: one that turns to the past reserves 40 % for memories and may fill half of the
      prompt with them; a short follow-up reserves nothing and takes at most 5 %; any other gets an
      eighth, as with `hierarchical`. `focus_of` tells them apart.
    - The fill: only a full prompt has to be divided. While the chat is small all of it is sent, whatever
      the question; memories then take what is free, up to their limit.
    - The load: a busy engine gets smaller prompts, down to 60 % of the budget, with half as many memories
      in them, since memories are what must be read anew in each turn.

    The profile and the summary keep their shares. They stand before the history, so to move them with
    each question would void the KV cache of everything behind them, which costs more than it gains.
    """

    name = "adaptive"
    summary = "as hierarchical, with shares that follow question and load"
    searches = True
    summarises = True
    history_share = 0.6

    def assemble(self, given: ContextInput) -> Assembly:
        """All layers. Raises `BudgetTooSmall` when the newest message alone does not fit."""
        focus = focus_of(last_question(given), given.recalls)
        load = min(1.0, given.load) if given.load > 0 else 0.0
        target = int(given.budget.tokens * (1 - _LOAD_OFF_PROMPT * load))
        most = min(int(target * _MOST[focus]), _CAP[focus])
        shares = Shares(
            summary=0.15,
            memories=_RESERVED[focus],
            most_memories=int(most * (1 - _LOAD_OFF_MEMORIES * load)),
        )
        return compose(self.name, given, shares, target=target, focus=focus)
