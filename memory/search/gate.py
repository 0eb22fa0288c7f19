"""Whether a message needs long-term memory; small talk and unrelated tasks do not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memory.search.keywords import FEW, Keyword
from memory.search.rank import Ranked
from memory.text import Cues, cues_of, language_in, query_terms

__all__ = ["Evidence", "chance_share", "wants_memory"]

# Learned by logistic regression: the questions of LoCoMo, LongMemEval and XQuAD against prompts that none of
# their stores can help with; see docs/memory.md. A share counts from 0 to 1, a cue 0 or 1.
_BIAS = "bias"
_WITH_MEANING: Mapping[str, float] = {
    "closeness": 14.7,
    "coverage": 2.9,
    "beyond chance": 1.9,
    "past": 1.1,
    "recalls": 1.8,
    "name": 0.7,
    "personal": 1.1,
    _BIAS: -4.55,
}
_BY_WORDS: Mapping[str, float] = {
    "coverage": 5.65,
    "beyond chance": 4.3,
    "past": 1.0,
    "recalls": 1.0,
    "name": 0.55,
    _BIAS: -2.25,
}
_FARTHEST = 0.5  # more closeness than this proves nothing more
_NOUNS_IN_CAPITALS = "german"
_PERHAPS_A_NAME = 0.58  # where capitals say nothing: the share of XQuAD's English questions with such a name
_NAMED_OFTEN = 2  # passages
_NAME = re.compile(r"(?<=[^\s.!?:\u2026\u201c\u201d\"'] )[^\W\d_][^\W_]+")
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
_CHANCES = tuple(math.exp(step / 6 - 3) for step in range(32))  # from 0.05 to 8.7


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a search found that speaks for using memories.

    Args:
        ranked: the passages, best first.
        keywords: the selective words of the question.
        best_words: the highest BM25 score of a passage.
        passages: how many were searched.
        closeness: how much nearer than unrelated texts the nearest passage is, as a difference of cosines;
            None if nothing is known about meaning.
    """

    ranked: Sequence[Ranked]
    keywords: Sequence[Keyword]
    best_words: float
    passages: int
    closeness: float | None


def wants_memory(question: str, found: Evidence) -> bool:
    """Whether to use recalls at all."""
    if not found.ranked or _is_small_talk(question):
        return False
    weights = _BY_WORDS if found.closeness is None else _WITH_MEANING
    signals = _signals(question, cues_of(question), found)
    return sum(weight * signals[name] for name, weight in weights.items()) > 0


def chance_share(keywords: Sequence[Keyword], passages: int) -> float:
    """The share of a question's words, by weight, that the best of this many passages would have by chance.

    Chernoff's bound: if words occurred independently of each other, at most one of the passages, on average,
    would have more.
    """
    known = _countable(keywords)
    everything = sum(keyword.weight for keyword in known)
    if not everything or not passages:
        return 0.0
    bound = min(
        (
            math.log(passages)
            + sum(
                math.log1p(min(1.0, keyword.passages / passages) * math.expm1(step * keyword.weight))
                for keyword in known
            )
        )
        / step
        for step in _CHANCES
    )
    return min(1.0, bound / everything)


def _countable(keywords: Sequence[Keyword]) -> list[Keyword]:
    # Most pairs of characters that no passage has stand across two words: they say nothing.
    return [keyword for keyword in keywords if keyword.term.whole or keyword.passages]


def _signals(question: str, cues: Cues, found: Evidence) -> dict[str, float]:
    everything = sum(keyword.weight for keyword in _countable(found.keywords)) or 1.0
    beyond = 0.0  # among few passages, frequencies mean nothing
    if found.passages >= FEW:
        beyond = found.best_words / everything - chance_share(found.keywords, found.passages)
    return {
        "closeness": min(max(found.closeness or 0.0, 0.0), _FARTHEST),
        "coverage": found.ranked[0].signals.get("coverage around", 0.0),
        "beyond chance": beyond,
        "past": cues.past,
        "recalls": cues.recalls,
        "name": _names_something_known(question, found.keywords),
        "personal": cues.personal,
        _BIAS: 1.0,
    }


def _names_something_known(question: str, keywords: Sequence[Keyword]) -> float:
    """Whether it has a name, by its capital letter, of which the past speaks; else how likely that is."""
    if language_in(question) == _NOUNS_IN_CAPITALS:
        return _PERHAPS_A_NAME
    known = {form for word in keywords if word.passages >= _NAMED_OFTEN for form in word.term.forms}
    names = (name.group() for name in _NAME.finditer(question) if name.group()[0].isupper())
    return float(any(not known.isdisjoint(term.forms) for name in names for term in query_terms(name)))


def _is_small_talk(text: str) -> bool:
    """Whether all words are greetings, thanks or assent."""
    return _SMALL_TALK.issuperset(word.lower().replace("\u2019", "'") for word in _WORD.findall(text))
