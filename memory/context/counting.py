"""Token counts: of texts, remembered from turn to turn, and of the prompts that a branch allows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

from memory.context.base import ContextInput
from memory.context.layers import Layer, profile_layer, summary_layer
from memory.context.render import Branch, Draft, render
from memory.ports import TokenCounter
from memory.storage import cover
from memory.types import Turn

__all__ = ["CachedCounter", "Sizes"]


class Sizes:
    """Drafts the possible prompts of a branch, without memories, and measures them.

    What precedes the history must not change while the prompt starts at the same exchange, or the model's
    KV cache is void. So profile and summary depend on that exchange and on nothing later.

    Args:
        profile, summary: limits in tokens for these layers.

    Attributes:
        start: the first exchange since the last eviction.
        system: text tokens of the system prompt.
    """

    def __init__(self, given: ContextInput, *, profile: int, summary: int) -> None:
        self._given = given
        self._most_profile = profile
        self._most_summary = summary
        count = given.counter.count_text
        self.branch = Branch(given.messages, given.system_prompt)
        self.start = self.branch.start(given.window_starts)
        self.system = sum(map(count, self.branch.system_texts))
        exchanges = [sum(count(item.content) for item in items) for items in self.branch.exchanges]
        # _after[i]: text tokens of exchange i and everything after it.
        self._after = list(accumulate(reversed(exchanges)))[::-1]
        self._last_sources = _last_sources(given, self.branch)
        self._profiles: dict[tuple[int, ...], Layer] = {}
        self._summaries: dict[tuple[int, ...], Layer] = {}
        self._measured: dict[int, int] = {}

    def draft(self, first: int) -> Draft:
        """The prompt from exchange `first` on, with profile and summary."""
        return Draft(first=first, profile=self._profile(first), summary=self._summary(first))

    def tokens(self, first: int) -> int:
        """Exact size of `draft(first)`."""
        if first not in self._measured:
            self._measured[first] = self.measure(self.draft(first))
        return self._measured[first]

    def measure(self, draft: Draft) -> int:
        """Exact size of any draft."""
        turns = render(self.branch, draft)
        return self._given.counter.count_prompt(turns) if turns else 0

    def before_history(self, first: int) -> int:
        """Text tokens of the system turn of `draft(first)`."""
        return self.system + self._profile(first).tokens + self._summary(first).tokens

    def exchanges(self, first: int) -> int:
        """Text tokens of all exchanges from `first` on."""
        return self._after[first] if first < len(self._after) else 0

    def _profile(self, first: int) -> Layer:
        """Pinned facts, and others if they are older than everything that is sent."""
        since = self.branch.exchanges[first][0].created_at if self.branch.exchanges else ""
        facts = [fact for fact in self._given.profile if fact.pinned or fact.created_at < since]
        key = tuple(fact.id for fact in facts)
        if key not in self._profiles:
            self._profiles[key] = profile_layer(facts, self._most_profile, self._given.counter)
        return self._profiles[key]

    def _summary(self, first: int) -> Layer:
        """Summaries whose sources are all evicted, and that are not newer than the window start."""
        newest: int | None = None
        if first == self.start > 0:
            newest = self._given.start_summaries.get(self.branch.exchanges[first][0].id)
        summaries = [
            summary
            for summary, last_source in zip(self._given.summaries, self._last_sources, strict=True)
            if last_source < first and (newest is None or summary.id <= newest)
        ]
        key = tuple(summary.id for summary in summaries)
        if key not in self._summaries:
            past = cover(summaries, tuple(self.branch.order))
            self._summaries[key] = summary_layer(past, self._most_summary, self._given.counter)
        return self._summaries[key]


def _last_sources(given: ContextInput, branch: Branch) -> list[int]:
    """The exchange of each summary's last source; a source off the branch counts as never evicted."""
    exchange_of = {message.id: -1 for message in branch.empty}
    for number, exchange in enumerate(branch.exchanges):
        exchange_of |= {message.id: number for message in exchange}
    never = len(branch.exchanges)
    places = [[exchange_of.get(source, never) for source in summary.sources] for summary in given.summaries]
    return [max(found, default=never) if max(found, default=-1) >= 0 else never for found in places]


_MAX_ENTRIES = 100_000


class CachedCounter:
    """Wraps a model's counter and remembers: every turn measures the same messages. Thread-safe."""

    def __init__(self, counter: TokenCounter) -> None:
        self.counter = counter
        self._tokens: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def count_text(self, text: str) -> int:
        """Tokens of plain text, from the cache if it was counted before."""
        key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._tokens.get(key)
        if known is not None:
            return known
        tokens = self.counter.count_text(text)  # outside the lock: it may wait for the engine
        with self._lock:
            # Messages are counted in order, so evicting the oldest entry each time would always miss.
            if len(self._tokens) >= _MAX_ENTRIES:
                self._tokens.clear()
            self._tokens[key] = tokens
        return tokens

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        """Tokens of the rendered prompt; exact, never from the cache."""
        return self.counter.count_prompt(messages)
