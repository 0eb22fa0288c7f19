"""Which sentences of a passage a prompt quotes: those that have what a question asks for."""

from __future__ import annotations

from collections.abc import Sequence

from memory.search.keywords import Keyword
from memory.text import TermFinder, is_laid_out, sentence_spans, tokens_in

__all__ = ["Excerpts"]

# The best passage may say more than the others. About five sentences, three, and two.
_TOKENS = (80, 48, 36)
_ASKS = -0.3  # a question tells little, however many of the words it has
_NEXT = 0.05  # a sentence is understood best after the one before it


class Excerpts:
    """Takes the best sentences out of passages, word for word and in order.

    Args:
        keywords: the selective words of the question, with their weights.
    """

    def __init__(self, keywords: Sequence[Keyword]) -> None:
        self._weights = [keyword.weight for keyword in keywords]
        self._all = sum(self._weights) or 1.0
        self._finder = TermFinder([keyword.term for keyword in keywords])

    def of(self, text: str, rank: int) -> str:
        """The sentences of a passage that have most of the question's words, by weight.

        Args:
            text: comes back as it is where it is short, and where lines matter, as in code.
            rank: of the passage among those found, from 0.
        """
        room = _TOKENS[min(rank, len(_TOKENS) - 1)]
        if tokens_in(text) <= room or is_laid_out(text):
            return text
        spans = list(sentence_spans(text))
        values = {place: self._value(text[start:end]) for place, (start, end) in enumerate(spans)}
        chosen: list[int] = []
        while values:
            best = max(values, key=lambda place: (values[place] + _NEXT * (place - 1 in chosen), -place))
            size = tokens_in(text[slice(*spans[best])])
            if chosen and size > room:
                break
            room -= size
            chosen.append(best)
            del values[best]
        return _together(text, spans, sorted(chosen))

    def _value(self, sentence: str) -> float:
        found = self._finder.places_in(sentence)
        share = sum(weight for place, weight in enumerate(self._weights) if found >> place & 1) / self._all
        return share + _ASKS * sentence.endswith(("?", "\uff1f"))


def _together(text: str, spans: Sequence[tuple[int, int]], places: Sequence[int]) -> str:
    """The sentences at these places; what stands between two neighbours stays."""
    parts: list[str] = []
    first = 0
    for at, place in enumerate(places):
        if at + 1 == len(places) or places[at + 1] != place + 1:
            parts.append(text[spans[places[first]][0] : spans[place][1]])
            first = at + 1
    return " … ".join(parts)
