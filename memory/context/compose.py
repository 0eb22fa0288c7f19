"""How all strategies but `full` compose a prompt: which exchanges, and how much of each layer."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace

from memory.context.base import Assembly, ContextInput
from memory.context.counting import Sizes
from memory.context.layers import MemoryPicker
from memory.context.render import Draft
from memory.context.report import report_context
from memory.errors import BudgetTooSmall

__all__ = ["FEW_MEMORIES", "Shares", "compose"]

_KEPT_SHARE = 0.5
# Text alone can exceed the prompt only for templates that trim it, and then only slightly.
_SURELY_TOO_MUCH = 1.1
FEW_MEMORIES = 128  # tokens, about three: a share of a small prompt would hold none
_TOKENS_EACH = 80  # of a memory, if the question does not point to the past
_JOINT_TOKENS = 4  # at most, for the blank line between the memories and the question


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How a prompt is divided. What one layer leaves unused, another may take.

    Args:
        profile, summary: at most this share of the budget.
        memories: the share, of what the system prompt leaves, that the history yields to memories when
            some are found.
        spare_memories: if more than that is free, memories may take this share of it.
        most_memories: limit in tokens for memories; None: all that is free.
        most_recalls: how many are quoted; None: as many as fit.
    """

    profile: float = 0.05
    summary: float = 0.0
    memories: float = 0.0
    spare_memories: float = 1.0
    most_memories: int | None = 0
    most_recalls: int | None = None

    @property
    def history(self) -> float:
        """The share left to the messages themselves when summary and memories are full."""
        return max(0.0, 1 - self.summary - self.memories)


def compose(
    strategy: str,
    given: ContextInput,
    shares: Shares,
    *,
    target: int | None = None,
    focus: str | None = None,
) -> Assembly:
    """Compose the newest exchanges with as much of the other layers as the shares allow.

    Dropping one exchange per turn would change the start of every prompt and so invalidate the model's KV
    cache each time. So an eviction shrinks the history to half of its share; then the prompt only grows at
    its end until it exceeds its limit again. Between two evictions the system turn does not change. If
    even the newest message hardly fits, memories are dropped first, then the summary, then the profile.

    Args:
        target: how many tokens the prompt should take, at most the budget; the newest message may exceed it.
        focus: see `ContextReport`.

    Raises:
        BudgetTooSmall: the newest message alone does not fit.
    """
    limit = given.budget.tokens
    sizes = Sizes(given, profile=int(limit * shares.profile), summary=int(limit * shares.summary))
    composer = _Composer(given, shares, sizes, limit if target is None else min(target, limit))
    first = sizes.start if composer.fits(sizes.start) else composer.evict(sizes.start)
    draft, tokens = composer.settle(first)
    context = report_context(strategy, given, sizes.branch, draft, tokens, target=target, focus=focus)
    if first == sizes.start:
        return Assembly(context)
    newest = max((summary.id for summary in given.summaries), default=0)
    return Assembly(context, sizes.branch.exchanges[first][0].id, newest)


class _Composer:
    """Decides where the prompt starts and what goes into it."""

    def __init__(self, given: ContextInput, shares: Shares, sizes: Sizes, target: int) -> None:
        self._limit = given.budget.tokens
        self._target = target
        self._sizes = sizes
        counts = [most for most in (shares.most_recalls, given.most_recalls) if most is not None]
        most = min(counts, default=None)
        self._picker = MemoryPicker(given.recalls, given.counter, sizes.branch.order, most=most)
        self._most_memories = target if shares.most_memories is None else shares.most_memories
        if given.most_recalls is not None:
            self._most_memories = min(self._most_memories, given.most_recalls * _TOKENS_EACH)
        self._spare = shares.spare_memories
        free = max(0, target - sizes.system)
        self._reserve = min(int(free * shares.memories), self._most_memories)

    def fits(self, first: int) -> bool:
        """Whether the exchanges from `first` on fit and leave room for the memories found."""
        sizes = self._sizes
        if first < sizes.branch.last and sizes.exchanges(first) > self._target * _SURELY_TOO_MUCH:
            return False  # avoids rendering a prompt of a million tokens
        room = self._target - sizes.tokens(first)
        if not 0 <= room < self._reserve:
            return room >= 0
        return self._picker.pick(sizes.branch.sent(first), self._reserve).tokens <= room

    def evict(self, start: int) -> int:
        """The first exchange to keep, so that about half of the history's share is used."""
        sizes, last = self._sizes, self._sizes.branch.last
        # First an estimate from the texts, which is cheap; then exactly.
        likely = start + bisect_left(range(start, last), True, key=self._seems_half)
        first = likely + bisect_left(range(likely, last), True, key=self._is_half)
        # A long question must not evict the exchange that it most likely refers to.
        if first == last > start and sizes.tokens(last - 1) <= self._limit:
            return last - 1
        return first

    def settle(self, first: int) -> tuple[Draft, int]:
        """The richest prompt from exchange `first` on that fits, and its exact size."""
        draft, tokens = self._sizes.draft(first), self._sizes.tokens(first)
        if tokens > self._limit and draft.summary.text:
            draft = replace(draft, summary=draft.summary.emptied())
            tokens = self._sizes.measure(draft)
        if tokens > self._limit and draft.profile.text:
            draft = replace(draft, profile=draft.profile.emptied())
            tokens = self._sizes.measure(draft)
        if tokens > self._limit:
            raise BudgetTooSmall(
                "Message and system prompt need",
                tokens,
                self._limit,
                "Shorten the message, or switch to a model with a larger context.",
            )
        return self._with_memories(draft, tokens)

    def _with_memories(self, bare: Draft, bare_tokens: int) -> tuple[Draft, int]:
        window = self._sizes.branch.sent(bare.first)
        room = self._target - bare_tokens - _JOINT_TOKENS
        limit = min(room, max(self._reserve, int(room * self._spare), FEW_MEMORIES), self._most_memories)
        while True:
            memories = self._picker.pick(window, limit)
            draft = replace(bare, memories=memories)
            if not memories.text:
                return draft, bare_tokens
            tokens = self._sizes.measure(draft)
            if tokens <= self._target:
                return draft, tokens
            limit = memories.tokens - (tokens - self._target)

    def _seems_half(self, first: int) -> bool:
        sizes = self._sizes
        return sizes.before_history(first) + sizes.exchanges(first) <= self._half(first)

    def _is_half(self, first: int) -> bool:
        return self._sizes.tokens(first) <= self._half(first)

    def _half(self, first: int) -> int:
        """Limit for the prompt from exchange `first` on after an eviction."""
        before = self._sizes.before_history(first)
        history = max(0, self._target - before - self._reserve)
        return min(self._target, before + int(history * _KEPT_SHARE))
