"""What every context strategy takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from memory.ports import TokenCounter
from memory.types import AssembledContext, Budget, Message

__all__ = ["Assembly", "ContextInput", "Strategy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextInput:
    """All that a strategy may look at.

    Args:
        messages: the branch, oldest first.
        system_prompt: goes first when it is not empty.
        cuts: ids of messages where earlier prompts of this session began.
        query: what to search for, for strategies that search.
    """

    messages: tuple[Message, ...]
    budget: Budget
    counter: TokenCounter
    system_prompt: str | None = None
    cuts: frozenset[str] = frozenset()
    query: str | None = None


@dataclass(frozen=True, slots=True)
class Assembly:
    """The context, and the new cut to remember if messages were evicted."""

    context: AssembledContext
    cut: str | None = None


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

    def assemble(self, given: ContextInput) -> Assembly:
        """Choose and measure the messages to send.

        Raises:
            BudgetTooSmall: what must be sent does not fit.
        """
        ...
