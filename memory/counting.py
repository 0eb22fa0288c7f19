"""A token counter that remembers: the same messages are measured again at every turn."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import blake2b

from memory.ports import TokenCounter
from memory.types import Turn

__all__ = ["CachedCounter"]

_MAX_ENTRIES = 100_000


class CachedCounter:
    """Wraps the model's counter; one per model, used from many threads."""

    def __init__(self, counter: TokenCounter) -> None:
        self.counter = counter
        self._tokens: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def count_text(self, text: str) -> int:
        """Tokens of plain text, from the cache when it was counted before."""
        key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._tokens.get(key)
        if known is not None:
            return known
        tokens = self.counter.count_text(text)  # outside the lock: it may wait for the engine
        with self._lock:
            # Messages are read in order, so evicting the oldest entry one by one would miss every time.
            if len(self._tokens) >= _MAX_ENTRIES:
                self._tokens.clear()
            self._tokens[key] = tokens
        return tokens

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        """Tokens of the rendered prompt; exact, never from the cache."""
        return self.counter.count_prompt(messages)
