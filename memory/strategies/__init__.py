"""Context strategies: what of the past goes into the prompt."""

from __future__ import annotations

from memory.errors import UnknownStrategy
from memory.strategies.adaptive import AdaptiveStrategy
from memory.strategies.base import Assembly, ContextInput, Strategy
from memory.strategies.composer import Shares
from memory.strategies.full import FullStrategy
from memory.strategies.hierarchical import HierarchicalStrategy
from memory.strategies.retrieval import RetrievalStrategy
from memory.strategies.sliding import SlidingStrategy
from memory.strategies.summary import SummaryStrategy

__all__ = ["STRATEGIES", "Assembly", "ContextInput", "Shares", "Strategy", "find_strategy"]

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
