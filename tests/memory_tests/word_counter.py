"""A tokenizer that counts words, and a simulated full disk: no model and no volume needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise

from memory import Memory, Turn

__all__ = ["MARKS_PER_TURN", "WordCounter", "count_words", "full_disk"]

MARKS_PER_TURN = 4
_OPENING = 3


@lru_cache(maxsize=100_000)
def count_words(text: str) -> int:
    """Words of a text; cached, since simulations count the same messages at every turn."""
    return len(text.split())


class WordCounter:
    """One token per word, plus what a chat template adds. Refuses what strict templates refuse."""

    def __init__(self) -> None:
        self.texts_counted = 0
        self.prompts_counted = 0

    def count_text(self, text: str) -> int:
        self.texts_counted += 1
        return count_words(text)

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        self.prompts_counted += 1
        roles = [turn.role for turn in messages if turn.role != "system"]
        assert all(turn.role != "system" for turn in messages[1:]), "a system turn that is not the first"
        assert all(one != other for one, other in pairwise(roles)), "roles do not alternate"
        return sum(count_words(turn.content) + MARKS_PER_TURN for turn in messages) + _OPENING


@contextmanager
def full_disk(memory: Memory) -> Iterator[None]:
    """SQLite raises the real SQLITE_FULL: the file may not grow by one page."""
    database = memory._database

    def limit(pages: str) -> None:
        database.query(f"PRAGMA max_page_count={pages}")

    pages = database.call(database.query, "PRAGMA page_count")[0][0]
    database.call(limit, str(pages))
    try:
        yield
    finally:
        database.call(limit, "1073741823")
