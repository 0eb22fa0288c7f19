"""A tokenizer that counts words, and a simulated full disk: no model and no volume needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from memory import Memory, Turn

__all__ = ["MARKS_PER_TURN", "WordCounter", "full_disk"]

MARKS_PER_TURN = 4
_OPENING = 3


class WordCounter:
    """One token per word, plus what a chat template adds. Refuses what strict templates refuse."""

    def __init__(self) -> None:
        self.texts_counted = 0
        self.prompts_counted = 0

    def count_text(self, text: str) -> int:
        self.texts_counted += 1
        return len(text.split())

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        self.prompts_counted += 1
        roles = [turn.role for turn in messages if turn.role != "system"]
        assert all(turn.role != "system" for turn in messages[1:]), "a system turn that is not the first"
        assert all(one != other for one, other in pairwise(roles)), "roles do not alternate"
        return sum(len(turn.content.split()) + MARKS_PER_TURN for turn in messages) + _OPENING


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
