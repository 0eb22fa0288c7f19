"""What the phrasings of statements are made of: a rule, and the words that several rules share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from memory.types import FactKind

__all__ = ["ADVERB", "CODE", "I_AM", "I_DO", "MONTH", "Match", "Rule", "match_rules", "one_of", "rule"]


@dataclass(frozen=True, slots=True)
class Match:
    """A statement between two positions of a sentence."""

    start: int
    end: int
    kind: FactKind


@dataclass(frozen=True, slots=True)
class Rule:
    """One phrasing.

    Args:
        kind: None where it depends on what is stated.
        opening: matches up to the start of what is stated.
        never: must not match at that start.
        named: a name follows: it needs a capital, unless the whole sentence has none.
    """

    kind: FactKind | None
    opening: re.Pattern[str]
    never: re.Pattern[str]
    named: bool


def one_of(words: str) -> str:
    """A pattern for one of several words, which may be patterns; an underscore is a gap between words."""
    return rf"(?:{'|'.join(words.split())})\b".replace("_", r"\s+")


ADVERB = one_of(
    "also really actually currently now still just mostly usually generally always personally absolutely "
    "truly particularly especially strongly mainly typically normally often simply honestly originally "
    "severely very mildly deathly highly quite recently completely do"
)
I_DO = rf"i\s+(?:{ADVERB}\s+)*?"
I_AM = rf"(?:i'?m|i\s+am)\s+(?:{ADVERB}\s+)*?"
MONTH = r"(?:jan|feb|mar|apr|may|june|july|aug|sep|oct|nov|dec)"
# What "my … is called" and "I have a child …" mean in programming.
CODE = one_of(
    "functions? methods? variables? files? scripts? class(?:es)? columns? tables? branch(?:es)? folders? "
    "director(?:y|ies) endpoints? components? hooks? callbacks? constructors? apis? errors? code modules? "
    "packages? objects? fields? property properties events? handlers? query queries tests? models? repos? "
    "images? arrays? lists? data databases? servers? containers? inputs? outputs? buttons? pages? nodes? "
    "elements? views? widgets? windows? process(?:es)? divs?"
)
# Pointers: without the sentences before, a statement with one means nothing.
_POINTER = one_of(
    "it this that these those them they their him her his he she you your yours one ones all either "
    "neither each none any some such myself what how when where who why which whatever if not"
)
_WISH = re.compile(rf"(?i)\b{one_of('prefer like love hate enjoy always never favou?rite')}")


def rule(kind: FactKind | None, opening: str, *never: str, named: bool = False) -> Rule:
    """A rule of patterns that ignore case; a pointer never follows."""
    unwanted = "|".join((_POINTER, *never))
    return Rule(kind, re.compile(rf"(?i){opening}"), re.compile(rf"(?i)(?:{unwanted})"), named)


def match_rules(rules: Iterable[Rule], sentence: str, start: int, end: int) -> Match | None:
    """The statement that starts exactly at `start`, if any."""
    for one in rules:
        opening = one.opening.match(sentence, start, end)
        if opening is None:
            continue
        said = opening.end()
        if one.never.match(sentence, said, end):
            continue
        if one.named and sentence[said : said + 1].islower() and not _is_informal(sentence[start:end]):
            continue
        kind = one.kind or ("preference" if _WISH.search(sentence, said, end) else "fact")
        return Match(start, end, kind)
    return None


def _is_informal(sentence: str) -> bool:
    """Whether the author writes without capitals, so that names have none either."""
    return sentence == sentence.lower()
