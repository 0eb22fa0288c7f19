"""Keeps control tokens out of what people, models, files and tools say.

A chat template writes control tokens, such as `<|im_end|>`, as text, and the tokeniser turns that text into
tokens. So a message that spells one would end its own turn and begin another. Before a template sees a
message, each control token in it is cut by a character that no text has (`SpecialMarks.cut`). The template
passes it on, and what still spells a control token afterwards was written by the template itself. Case does
not matter: a template may change it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from engine.step import SpecialTokens

__all__ = ["MarkedText", "SpecialMarks", "deleted_texts"]

# Noncharacters of Unicode: never part of a text that people exchange.
_CUT = "\ufdd0"  # in a control token, which does not exist where the tokeniser is told not to look for any
_SPLIT = "\ufdd1"  # in other markup, which the tokeniser finds wherever it is: both sides are tokenised apart
_EITHER = re.compile(f"[{_CUT}{_SPLIT}]")
_DELETED = re.compile(r"""\b(?:replace|split)\s*\(\s*(['"])(.+?)\1""")
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_MOST_REMAINS = 64  # of a text that a template deletes, that are looked at
_MARKUP = re.compile(r"<\S{1,60}>|\[\S{1,60}\]")


def deleted_texts(template: str) -> tuple[str, ...]:
    """What a chat template may take out of a message, as `replace` and `split` name it in its source."""
    return tuple(sorted({text for _, text in _DELETED.findall(template) if text.strip()}))


class SpecialMarks:
    """Finds the special tokens of a vocabulary in texts: control tokens, and those of the others that look
    like markup. `<tool_response>` and the like mean something to models, too."""

    def __init__(self, tokens: SpecialTokens) -> None:
        self._control = _Finder(text for text in tokens.control if text)
        self._markup = _Finder(text for text in tokens.others if _MARKUP.fullmatch(text))
        self._strips = tokens.strips
        self._deleted = tokens.deleted
        # What stays whole, so that the template finds it; the rest of it must begin no control token.
        self._kept = tuple(
            text
            for text in tokens.deleted
            if not any(map(self._control.may_begin, _remains(text, tokens.deleted)))
        )

    def cut(self, text: str, *, markup: bool) -> str:
        """The text with every control token in it cut; `markup`: and other special markup, too."""
        text = _EITHER.sub("", text)
        if markup:
            text = self._markup.cut(text, _SPLIT)
        if any(deleted in text for deleted in self._deleted):
            return self._control.cut_starts(text, _CUT, self._kept)
        return self._control.cut(text, _CUT)

    def mark(self, rendered: str) -> MarkedText:
        """What a template made of texts that were cut."""
        return MarkedText(rendered, [*self._control.spans(rendered)], self._strips)


def _remains(text: str, deleted: Collection[str]) -> set[str]:
    """What can be left of a text, and at its start, after parts of it are taken out; the text itself, too."""
    found, fresh = {text}, [text]
    while fresh and len(found) < _MOST_REMAINS:
        some = fresh.pop()
        inside = {some.replace(part, "") for part in deleted if part in some}
        across = {
            some[:-shared]
            for part in deleted
            for shared in range(1, min(len(some), len(part)))
            if some.endswith(part[:shared])
        }
        fresh += (inside | across) - found
        found |= inside | across
    return found - {""}


class _Finder:
    """Finds any of many texts; fast where their first characters are rare."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = frozenset(texts)
        self._folded = frozenset(map(_fold, self._texts))
        first = "".join(sorted({re.escape(text[0]) for text in self._texts}))
        self._start = re.compile(f"[{first}]", re.IGNORECASE | re.ASCII) if first else None
        self._lengths = {
            char: sorted({len(text) for text in self._folded if text[0] == char}, reverse=True)
            for char in {text[0] for text in self._folded}
        }

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the texts stand, the longest at each place, without overlaps."""
        end = 0
        for start in self._starts(text):
            if start >= end and (length := self._length_at(text, start, self._texts)):
                end = start + length
                yield start, end

    def may_begin(self, text: str) -> bool:
        """Whether a text, and what follows it, may be one of the texts in some case."""
        folded = _fold(text)
        return any(one.startswith(folded) or folded.startswith(one) for one in self._folded)

    def cut(self, text: str, sign: str) -> str:
        """The text with a sign behind the first character of each occurrence, also of overlapping ones and
        in another case."""
        folded = _fold(text)
        places = [start + 1 for start in self._starts(text) if self._length_at(folded, start, self._folded)]
        return _join(text, places, sign)

    def cut_starts(self, text: str, sign: str, but: tuple[str, ...]) -> str:
        """The text with a sign behind each character with which one of the texts begins, so that none can
        stand in what remains when parts are taken out; but not in these."""
        places = [start + 1 for start in self._starts(text) if not text.startswith(but, start)]
        return _join(text, places, sign)

    def _starts(self, text: str) -> Iterator[int]:
        return iter(()) if self._start is None else (found.start() for found in self._start.finditer(text))

    def _length_at(self, text: str, start: int, texts: frozenset[str]) -> int:
        lengths = self._lengths[_fold(text[start])]
        return next((n for n in lengths if text[start : start + n] in texts), 0)


def _fold(text: str) -> str:
    """ASCII letters in lower case, so that the length stays."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _join(text: str, places: list[int], sign: str) -> str:
    """The text with a sign at each of these places."""
    if not places:
        return text
    edges = [0, *places, len(text)]
    return sign.join(text[a:b] for a, b in pairwise(edges))


@dataclass(frozen=True, slots=True)
class Control:
    """A control token of a prompt: its place in the marked text, and in the bytes of the text."""

    begin: int
    end: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a prompt to tokenise by itself.

    Args:
        pieces: its text; more than one where markup was split.
        plain: whether no control token may come out of it.
    """

    pieces: tuple[str, ...]
    plain: bool


class MarkedText:
    """A rendered prompt that knows which of its control tokens are real.

    Args:
        marked: the text with the signs of `SpecialMarks.cut`.
        spans: where it spells control tokens.

    Attributes:
        data: the text itself, in UTF-8.
        controls: the real control tokens, in order.
    """

    def __init__(
        self,
        marked: str,
        spans: Collection[tuple[int, int]],
        strips: Mapping[str, tuple[bool, bool]] = MappingProxyType({}),
    ) -> None:
        self._marked = marked
        self._strips = strips
        self._signed = _EITHER.search(marked) is not None
        self.data = _EITHER.sub("", marked).encode() if self._signed else marked.encode()
        self.controls: list[Control] = []
        place = at = 0
        for begin, end in spans:
            first = at + self._bytes(place, begin)
            place, at = end, first + self._bytes(begin, end)
            self.controls.append(Control(begin, end, first, at))

    def parts(self, offset: int = 0) -> Iterator[Part]:
        """The parts from a byte offset on, which must be 0 or an end of a control token.

        Between two control tokens a text tokenises as it does in the whole. So a stretch with a sign in it
        is a part, and so is all that lies between two of those.
        """
        place = next((c.begin if c.first == offset else c.end for c in self.controls if c.last >= offset), 0)
        place = place if offset else 0
        if not self._signed:
            if place < len(self._marked):
                yield Part((self._marked[place:],), plain=False)
            return
        edges = [place, *(edge for c in self.controls if c.begin >= place for edge in (c.begin, c.end))]
        edges.append(len(self._marked))
        begin = place
        for left, right in zip(edges[::2], edges[1::2], strict=True):
            stretch = self._marked[left:right]
            if _EITHER.search(stretch):
                if begin < left:
                    yield Part((self._marked[begin:left],), plain=False)
                stretch = self._stripped(stretch, left, right).replace(_CUT, "")
                yield Part(tuple(stretch.split(_SPLIT)), plain=True)
                begin = right
        if begin < len(self._marked):
            yield Part((self._marked[begin:],), plain=False)

    def _stripped(self, stretch: str, left: int, right: int) -> str:
        """A stretch without the white space that the control tokens beside it swallow."""
        if not self._strips:
            return stretch
        texts = {c.end if c.end == left else c.begin: self._marked[c.begin : c.end] for c in self.controls}
        if self._strips.get(texts.get(left, ""), (False, False))[1]:
            stretch = stretch.lstrip()
        return stretch.rstrip() if self._strips.get(texts.get(right, ""), (False, False))[0] else stretch

    def _bytes(self, begin: int, end: int) -> int:
        text = self._marked[begin:end]
        return len((_EITHER.sub("", text) if self._signed else text).encode())
