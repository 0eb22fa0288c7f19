"""Texts to ask about: never the same twice, so that no cache knows them, and of a given length."""

from __future__ import annotations

import random
from collections.abc import Callable

from engine import ChatMessage

__all__ = ["question", "text_of"]

_COMMON = (
    "the of and a to in he was that it his her with as had for she not at but be on they have him which said"
    " from all this one were so you would an there been if what when who will more out do up into your them"
    " time some could then than other its over like now man me little two after these can only made where"
    " first before must any such our house way long day water night hand light sea wind stone road river"
)
_WORDS = _COMMON.split()


def question(chat: int, number: int) -> list[ChatMessage]:
    """A short prompt for a long answer, another one for each chat and round."""
    return [
        ChatMessage("user", f"Number {number}.{chat}: tell me, as well as you can, a story about the sea.")
    ]


def text_of(tokens: int, count: Callable[[str], int], seed: str) -> str:
    """Random words that make about `tokens` tokens, the same ones for the same seed."""
    chosen = random.Random(seed).choices(_WORDS, k=tokens)
    low, high = 0, len(chosen)  # a word is a token or more, so `tokens` words are enough
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(" ".join(chosen[:middle])) <= tokens else (low, middle - 1)
    return " ".join(chosen[:low])
