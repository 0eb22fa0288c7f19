"""The six context strategies: which parts of the past go into the prompt."""

from __future__ import annotations

from dataclasses import replace

from memory.context.base import Assembly, ContextInput, Strategy
from memory.context.compose import FEW_MEMORIES, Shares, compose
from memory.context.counting import Sizes
from memory.context.focus import Focus, asks, focus_of, last_question
from memory.context.report import report_context
from memory.errors import BudgetTooSmall, UnknownStrategy

__all__ = [
    "STRATEGIES",
    "AdaptiveStrategy",
    "Assembly",
    "ContextInput",
    "FullStrategy",
    "HierarchicalStrategy",
    "RetrievalStrategy",
    "Shares",
    "SlidingStrategy",
    "Strategy",
    "SummaryStrategy",
    "find_strategy",
]


class FullStrategy:
    """Sends the whole branch, or refuses if it does not fit."""

    name = "full"
    summary = "everything; refuses to answer when it no longer fits"
    searches = False
    summarises = False
    history_share = 1.0

    def assemble(self, given: ContextInput) -> Assembly:
        """All messages. Raises `BudgetTooSmall` if they exceed the budget."""
        limit = given.budget.tokens
        sizes = Sizes(given, profile=int(limit * Shares().profile), summary=0)
        draft = sizes.draft(0)
        tokens = sizes.tokens(0)
        if tokens > limit and draft.profile.text:
            draft = replace(draft, profile=draft.profile.emptied())
            tokens = sizes.measure(draft)
        if tokens > limit:
            raise BudgetTooSmall(
                "The whole chat needs",
                tokens,
                limit,
                "Switch to the sliding strategy, or to a model with a larger context.",
            )
        return Assembly(report_context(self.name, given, sizes.branch, draft, tokens))


class SlidingStrategy:
    """Sends the newest exchanges; drops the oldest ones, many at a time."""

    name = "sliding"
    summary = "the newest messages that fit; the oldest go first, in chunks"
    searches = False
    summarises = False
    history_share = 1.0

    def assemble(self, given: ContextInput) -> Assembly:
        """The newest exchanges. Raises `BudgetTooSmall` if the newest message alone does not fit."""
        return compose(self.name, given, Shares())


class SummaryStrategy:
    """Sends summaries in place of the exchanges that it drops."""

    name = "summary"
    summary = "summaries of what no longer fits, and the newest messages"
    searches = False
    summarises = True

    def __init__(self, shares: Shares | None = None) -> None:
        self._shares = shares or Shares(summary=0.15)
        self.history_share = self._shares.history

    def assemble(self, given: ContextInput) -> Assembly:
        """Summary and newest exchanges. Raises `BudgetTooSmall` if the newest message does not fit."""
        return compose(self.name, given, self._shares)


class RetrievalStrategy:
    """Reserves a quarter of the prompt for the newest exchanges; memories take the rest.

    Most of the prompt changes every turn, so the model's KV cache saves little.
    """

    name = "retrieval"
    summary = "relevant memories from all chats, and the newest messages"
    searches = True
    summarises = False

    def __init__(self, shares: Shares | None = None) -> None:
        self._shares = shares or Shares(memories=0.75, most_memories=None)
        self.history_share = self._shares.history

    def assemble(self, given: ContextInput) -> Assembly:
        """Memories and newest exchanges. Raises `BudgetTooSmall` if the newest message does not fit."""
        return compose(self.name, given, self._shares)


# Memories take a quarter of what is free, at least an eighth of the prompt: they must be prefilled anew every
# turn, and with a quarter of every prompt a long chat would prefill three times as much.
_SHARES = Shares(summary=0.15, memories=0.125, spare_memories=0.25, most_memories=1024, most_recalls=12)
_STATEMENT_SHARE = 0.5  # of the share for memories, if the message asks nothing


class HierarchicalStrategy:
    """Divides the prompt into layers, as MemGPT (Packer et al., 2023) divides a small context.

    A message that asks nothing gets half the memories that a question gets in a full prompt.

    Args:
        shares: by default an eighth for memories, twice as much in a new chat, at most 1,024 tokens and
            twelve: more would dilute the question.
    """

    name = "hierarchical"
    summary = "newest messages, summaries of older ones, relevant memories"
    searches = True
    summarises = True

    def __init__(self, shares: Shares | None = None) -> None:
        self._shares = shares or _SHARES
        self.history_share = self._shares.history

    def assemble(self, given: ContextInput) -> Assembly:
        """All layers. Raises `BudgetTooSmall` if the newest message alone does not fit."""
        return compose(
            self.name, given, self._shares if asks(last_question(given)) else self._statement_shares(given)
        )

    def _statement_shares(self, given: ContextInput) -> Shares:
        most = max(int(given.budget.tokens * self._shares.memories * _STATEMENT_SHARE), FEW_MEMORIES)
        if self._shares.most_memories is not None:
            most = min(most, self._shares.most_memories)
        return replace(self._shares, most_memories=most)


# By the focus of the question: the share the history yields to memories, and their limits.
_RESERVED: dict[Focus, float] = {"past": 0.4, "plain": 0.125, "follow-up": 0.0}
_MOST: dict[Focus, float] = {"past": 0.5, "plain": 0.125, "follow-up": 0.05}
_CAP: dict[Focus, int] = {"past": 1536, "plain": 1024, "follow-up": 256}
# How much a saturated engine shrinks the prompt, and on top of that the memories.
_LOAD_OFF_PROMPT = 0.4
_LOAD_OFF_MEMORIES = 0.5


class AdaptiveStrategy:
    """Decides for each question how to divide the prompt between memories and history.

    - The question: one about the past reserves 40% for memories and may fill half of the prompt with
      them; a short follow-up reserves nothing and takes at most 5%; any other gets an eighth, as with
      `hierarchical`. `focus_of` tells them apart.
    - The fill: only a full prompt must be divided. While the chat is short, all of it is sent, whatever
      the question; memories then take what is free, up to their limit.
    - The load: a busy engine gets smaller prompts, down to 60% of the budget, with half the memories,
      since memories must be prefilled anew every turn.

    Profile and summary keep their shares. They precede the history, so changing them with each question
    would invalidate the KV cache of everything after them, which costs more than it gains.
    """

    name = "adaptive"
    summary = "like hierarchical; shares adapt to the question and the load"
    searches = True
    summarises = True
    history_share = 0.6

    def assemble(self, given: ContextInput) -> Assembly:
        """All layers. Raises `BudgetTooSmall` if the newest message alone does not fit."""
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


# In the order of menus: from all layers to none.
_ALL: tuple[Strategy, ...] = (
    HierarchicalStrategy(),
    AdaptiveStrategy(),
    RetrievalStrategy(),
    SummaryStrategy(),
    SlidingStrategy(),
    FullStrategy(),
)
STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in _ALL}


def find_strategy(name: str) -> Strategy:
    """The strategy of this name. Raises `UnknownStrategy`, which lists the known ones."""
    strategy = STRATEGIES.get(name)
    if strategy is None:
        raise UnknownStrategy(name, tuple(STRATEGIES))
    return strategy
