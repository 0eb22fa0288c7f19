"""Context strategies: what of the past goes into the prompt."""

from __future__ import annotations

from memory.errors import UnknownStrategy
from memory.strategies.base import Assembly, ContextInput, Strategy
from memory.strategies.full import FullStrategy
from memory.strategies.sliding import SlidingStrategy

__all__ = ["STRATEGIES", "Assembly", "ContextInput", "Strategy", "find_strategy"]

STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy for strategy in (SlidingStrategy(), FullStrategy())
}


def find_strategy(name: str) -> Strategy:
    """The strategy of this name. Raises `UnknownStrategy`, which lists the known ones."""
    strategy = STRATEGIES.get(name)
    if strategy is None:
        raise UnknownStrategy(name, tuple(STRATEGIES))
    return strategy
