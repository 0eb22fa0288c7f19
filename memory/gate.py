"""Whether a message wants anything out of long-term memory: small talk and fresh tasks do not."""

from __future__ import annotations

import re
from collections.abc import Sequence

from memory.recall import Ranked

__all__ = ["wants_memory"]

# Best cosine between a message and a passage, all-MiniLM-L6-v2: 96 of 100 questions about what was said
# reach it, and 2 of 100 greetings and tasks (bench/unrelated_prompts.txt).
_CLOSE = 0.48
_CLOSE_WITH_CUE = 0.3
_COVERED = 0.5  # without vectors: the share of a question's words, by weight, around one passage
_CUE = re.compile(
    r"\b(?:remember|remind|last time|earlier|before|again|previous(?:ly)?|yesterday|ago"
    r"|did (?:i|we|you)|have (?:i|we|you)|(?:i|we|you) (?:said|told|mentioned|talked|discussed)"
    r"|my|mine|our)\b",
    re.I,
)


def wants_memory(question: str, closest: float | None, ranked: Sequence[Ranked], keywords: int) -> bool:
    """Whether to show recalls at all.

    Args:
        closest: the best cosine similarity; None when only keywords were searched.
        ranked: what was found, the best first.
        keywords: how many words of the question tell passages apart.
    """
    cue = _CUE.search(question) is not None
    if closest is not None:
        return closest >= (_CLOSE_WITH_CUE if cue else _CLOSE)
    covered = max((item.signals.get("coverage around", 0.0) for item in ranked[:10]), default=0.0)
    return covered >= _COVERED and (cue or keywords > 1)
