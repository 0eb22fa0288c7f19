"""Whether a message needs long-term memory; small talk and unrelated tasks do not."""

from __future__ import annotations

import re
from collections.abc import Sequence

from memory.search.rank import Ranked

__all__ = ["wants_memory"]

# Best cosine between a message and a passage, all-MiniLM-L6-v2: 99 of 100 questions about the past reach it,
# none of the tasks in bench/memory/unrelated_prompts.txt does; small talk is recognised by its words.
_CLOSE = 0.45
_CLOSE_WITH_CUE = 0.3
_COVERED = 0.5  # without vectors: the share of a question's words, by weight, around one passage
# With vectors: nearly all words of the question around one passage are enough, whatever the cosine.
_ALL_COVERED, _SEVERAL = 0.9, 3
_CUE = re.compile(
    r"\b(?:remember|remind|last time|earlier|before|again|previous(?:ly)?|yesterday|ago"
    r"|did (?:i|we|you)|have (?:i|we|you)|(?:i|we|you) (?:said|told|mentioned|talked|discussed)"
    r"|my|mine|our)\b",
    re.I,
)
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_TALK = (
    "a again ahead alright amazing and are awesome be bye care cheers continue cool day did do doing done"
    " evening fantastic fine fun go going good goodbye got great ha haha hello hey hi hm hmm how i i'm is it"
    " it's just later let's lol me mind morning much never next nice night no not now ok okay one perfect"
    " please pleasure ready really right see soon sorry sounds start started sure take thank thanks that"
    " that's the then there to today tomorrow tonight too understood up very was welcome well what's worries"
    " wow yeah yep yes you you're your"
)
_SMALL_TALK = frozenset(_TALK.split())


def wants_memory(question: str, closest: float | None, ranked: Sequence[Ranked], keywords: int) -> bool:
    """Whether to use recalls at all.

    Args:
        closest: the best cosine similarity; None if only keywords were searched.
        ranked: the passages found, best first.
        keywords: how many words of the question are selective.
    """
    if _is_small_talk(question):
        return False
    cue = _CUE.search(question) is not None
    covered = max((item.signals.get("coverage around", 0.0) for item in ranked[:10]), default=0.0)
    if closest is not None:
        is_close = closest >= (_CLOSE_WITH_CUE if cue else _CLOSE)
        return is_close or (covered >= _ALL_COVERED and keywords >= _SEVERAL)
    return covered >= _COVERED and (cue or keywords > 1)


def _is_small_talk(text: str) -> bool:
    """Whether all words are greetings, thanks or assent."""
    return _SMALL_TALK.issuperset(word.lower().replace("\u2019", "'") for word in _WORD.findall(text))
