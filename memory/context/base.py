"""What every context strategy takes and gives."""

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
    """All that a strategy may look at.

    Args:
        messages: the branch, oldest first.
        system_prompt: goes first when it is not empty.
        window_starts: ids of messages where earlier prompts of this session began.
        start_summaries: for a cut, the highest id of a summary that existed when it was made. A newer one
            waits for the next eviction, because a new summary voids the KV cache of the history behind
            it. A cut that is missing here shows every summary.
        query: what to search for, for strategies that search.
        recalls: what the search found, best first, weak ones already left out.
        summaries: of this branch, of every level.
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
    summaries: tuple[Summary, ...] = ()
    profile: tuple[Fact, ...] = ()
    load: float = 0.0


@dataclass(frozen=True, slots=True)
class Assembly:
    """The context, and what to remember if messages were evicted.

    Args:
        cut: the first message that is still sent; None when nothing was evicted.
        start_summary: goes with the cut into `ContextInput.start_summaries`.
    """

    context: AssembledContext
    window_start: str | None = None
    start_summary: int = 0


class Strategy(Protocol):
    """Decides what of a branch the model gets to see. Pure: no I/O, no state between calls."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def summary(self) -> str:
        """One line for menus."""
        ...

    @property
    def searches(self) -> bool:
        """Whether it wants recalls."""
        ...

    @property
    def summarises(self) -> bool:
        """Whether it wants summaries."""
        ...

    @property
    def history_share(self) -> float:
        """The share of the budget that the messages themselves may take when all layers are full."""
        ...

    def assemble(self, given: ContextInput) -> Assembly:
        """Choose and measure the messages to send.

        Raises:
            BudgetTooSmall: what must be sent does not fit.
        """
        ...
