"""The contract of context strategies: what they receive and what they return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from memory.ports import TokenCounter
from memory.reports import AssembledContext, Budget, Recall
from memory.types import Fact, Message, Summary

__all__ = ["Assembly", "ContextInput", "Strategy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextInput:
    """Everything that a strategy may look at.

    Args:
        messages: the branch, oldest first.
        system_prompt: comes first in the prompt, unless it is empty.
        window_starts: ids of messages where earlier prompts of this session started.
        start_summaries: for a window start, the highest id of a summary that existed when it was recorded.
            Newer summaries wait for the next eviction, because a new summary invalidates the KV cache of
            the history after it. A window start that is missing here shows every summary.
        query: what to search for, if the strategy searches.
        recalls: what the search found, best first, weak ones already left out.
        most_recalls: how many of them to quote; None if the question points to the past: as many as fit.
        reordered: a reranker has put them into its own order.
        summaries: of this branch, on every level.
        profile: facts for every prompt.
        load: how busy the engine is, from 0 (idle) to 1 (saturated).
    """

    messages: tuple[Message, ...]
    budget: Budget
    counter: TokenCounter
    system_prompt: str | None = None
    window_starts: frozenset[str] = frozenset()
    start_summaries: Mapping[str, int] = field(default_factory=dict)
    query: str | None = None
    recalls: tuple[Recall, ...] = ()
    most_recalls: int | None = None
    reordered: bool = False
    summaries: tuple[Summary, ...] = ()
    profile: tuple[Fact, ...] = ()
    load: float = 0.0


@dataclass(frozen=True, slots=True)
class Assembly:
    """The context, and what to remember if messages were evicted.

    Args:
        window_start: id of the first message that is still sent; None if nothing was evicted.
        start_summary: goes into `ContextInput.start_summaries` with it.
    """

    context: AssembledContext
    window_start: str | None = None
    start_summary: int = 0


class Strategy(Protocol):
    """Decides what the model sees of a branch. Pure: no I/O, no state between calls."""

    @property
    def name(self) -> str:
        """Its name in commands and settings."""
        ...

    @property
    def summary(self) -> str:
        """One line for menus."""
        ...

    @property
    def searches(self) -> bool:
        """Whether it uses recalls."""
        ...

    @property
    def summarises(self) -> bool:
        """Whether it uses summaries."""
        ...

    @property
    def history_share(self) -> float:
        """The share of the budget left to the messages themselves when all layers are full."""
        ...

    def assemble(self, given: ContextInput) -> Assembly:
        """Choose and measure the messages to send.

        Raises:
            BudgetTooSmall: what must be sent does not fit.
        """
        ...
