"""A tokenizer that counts words: no model needed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from memory import Turn

__all__ = ["MARKS_PER_TURN", "WordCounter", "count_words"]

MARKS_PER_TURN = 4
_OPENING = 3


@lru_cache(maxsize=100_000)
def count_words(text: str) -> int:
    """Words of a text; cached, since simulations count the same messages at every turn."""
    return len(text.split())


class WordCounter:
    """One token per word, plus what a chat template adds. Refuses what strict templates refuse.

    Args:
        marks: tokens that the template adds to each turn; opening: tokens that it adds to a prompt.
    """

    def __init__(self, *, marks: int = MARKS_PER_TURN, opening: int = _OPENING) -> None:
        self.texts_counted = 0
        self.prompts_counted = 0
        self._marks = marks
        self._opening = opening

    def count_text(self, text: str) -> int:
        self.texts_counted += 1
        return count_words(text)

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        self.prompts_counted += 1
        roles = [turn.role for turn in messages if turn.role != "system"]
        assert all(turn.role != "system" for turn in messages[1:]), "a system turn that is not the first"
        assert all(one != other for one, other in pairwise(roles)), "roles do not alternate"
        return sum(count_words(turn.content) + self._marks for turn in messages) + self._opening
