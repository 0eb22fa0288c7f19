"""Keeps control tokens out of what people, models, files and tools say.

A chat template writes control tokens, such as `<|im_end|>`, as text, and the tokeniser turns that text into
tokens. So a message that spells one would end its own turn and begin another. Before a template sees a
message, no control token can begin in it: a character that no text has is put behind each character with
which one might (`SpecialMarks.cut`). The template passes it on, whatever it takes out of the message, joins
to it or does to its case, and what still spells a control token afterwards was written by the template.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType

from engine.step import SpecialTokens

__all__ = ["MarkedText", "SpecialMarks", "literals_of"]

# Noncharacters of Unicode: never part of a text that people exchange.
_CUT = "\ufdd0"  # where a control token may begin: it is none where the tokeniser is told not to look for any
_SPLIT = "\ufdd1"  # in other markup, which the tokeniser finds wherever it is: both sides are tokenised apart
_EITHER = re.compile(f"[{_CUT}{_SPLIT}]")
_ESCAPED = re.compile(r"\\ufdd[01]", re.IGNORECASE)  # where a template printed one as JSON in ASCII
_OPENING, _CLOSING = re.compile(r"\{[{%]"), re.compile(r"[%}]\}")
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\")"""
_STRING = re.compile(_QUOTED, re.DOTALL)
_REPLACED = re.compile(rf"\breplace\s*\(\s*({_QUOTED})\s*,\s*({_QUOTED})", re.DOTALL)
_MARKUP = re.compile(r"<\S{1,60}>|\[\S{1,60}\]")
_IDENTIFIER = re.compile(r"\w*")
_MOST_REMAINS = 64  # of a text that a template deletes, that are looked at
_MOST_PAIRS = 200_000  # of such texts; published templates have some thousands


def literals_of(template: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The strings in a chat template's code, which it may look for in a message and take out of it; and the
    texts for which it may write others, such as `<` for `&lt;`."""
    found: set[str] = set()
    replaced = {"&"} if re.search("striptags|unescape", template) else set[str]()
    for code in _code_of(template):
        found.update(map(_value, _STRING.findall(code)))
        replaced.update(_value(old) for old, new in _REPLACED.findall(code) if _value(new))
    return tuple(sorted(found - replaced - {""})), tuple(sorted(replaced - {""}))


def _code_of(template: str) -> Iterator[str]:
    """What stands between `{{` or `{%` and the next end; in linear time, since templates are untrusted."""
    at = 0
    while (opening := _OPENING.search(template, at)) and (
        closing := _CLOSING.search(template, opening.end())
    ):
        yield template[opening.end() : closing.start()]
        at = closing.end()


def _value(literal: str) -> str:
    """Of a string in Jinja's code, whose escapes are Python's, but for some."""
    try:
        return str(ast.literal_eval(literal))
    except (SyntaxError, ValueError):
        return literal[1:-1]


class SpecialMarks:
    """Finds the special tokens of a vocabulary in texts: control tokens, and those of the others that look
    like markup. `<tool_response>` and the like mean something to models, too."""

    def __init__(self, tokens: SpecialTokens) -> None:
        self._control = _Finder(text for text in tokens.control if text)
        self._markup = _Finder(text for text in tokens.others if _MARKUP.fullmatch(text))
        self._strips = tokens.strips
        # What stays whole, so that the template finds it; the rest of it must begin no control token.
        starting = [text for text in tokens.literals if self._control.starts_with_start(text)]
        if len(starting) * len(tokens.literals) > _MOST_PAIRS:
            starting = []  # a template that wants to keep us busy finds nothing
        self._kept = tuple(
            text
            for text in starting
            if not any(map(self._control.may_begin, _remains(text, tokens.literals)))
        )
        self._replaced = _Finder(tokens.replaced)

    def cut(self, text: str, *, markup: bool) -> str:
        """The text in which no control token can begin; `markup`: and in which other markup is split."""
        text = _EITHER.sub("", text)
        if not text:
            return text
        if markup:
            text = self._markup.cut(text, _SPLIT)
        text = self._control.cut_starts(text, _CUT, self._kept)
        return self._apart(self._replaced.cut(text, _CUT))

    def mark(self, rendered: str) -> MarkedText:
        """What a template made of texts that were cut."""
        rendered = _ESCAPED.sub(lambda sign: chr(int(sign[0][2:], 16)), rendered)
        return MarkedText(rendered, [*self._control.spans(rendered)], self._strips)

    def _apart(self, text: str) -> str:
        """The text with a sign in front if what precedes it could complete a control token with it."""
        begin = len(text) - len(text.lstrip())
        return f"{text[:begin]}{_CUT}{text[begin:]}" if self._control.may_end(text[begin:]) else text


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
        first = "".join(sorted({re.escape(text[0]) for text in self._texts}))
        self._start = re.compile(f"[{first}]", re.IGNORECASE) if first else None
        self._lengths = {
            char: sorted({len(text) for text in self._texts if text[0] == char}, reverse=True)
            for char in {text[0] for text in self._texts}
        }

    @cached_property
    def _folded(self) -> frozenset[str]:
        return frozenset(map(str.casefold, self._texts))

    @cached_property
    def _endings(self) -> frozenset[str]:
        return frozenset(text[at:] for text in self._folded for at in range(1, len(text)))

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._endings), default=0)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the texts stand, the longest at each place, without overlaps."""
        end = 0
        for start in self._starts(text):
            if start >= end and (length := self._length_at(text, start)):
                end = start + length
                yield start, end

    def starts_with_start(self, text: str) -> bool:
        """Whether a text begins with a character with which one of the texts begins."""
        return self._start is not None and self._start.match(text) is not None

    def may_begin(self, text: str) -> bool:
        """Whether a text, and what follows it, may be one of the texts in some case."""
        folded = text.casefold()
        return any(one.startswith(folded) or folded.startswith(one) for one in self._folded)

    def may_end(self, text: str) -> bool:
        """Whether what precedes a text, and the text, may be one of the texts in some case: it begins with
        an ending of one, or lies inside one and is no mere word, as the keys of JSON are."""
        folded = text[: self._longest].casefold()
        if any(folded[:length] in self._endings for length in range(1, len(folded) + 1)):
            return True
        inside = len(text) <= self._longest and not _IDENTIFIER.fullmatch(text)
        return inside and any(folded in one for one in self._folded)

    def cut(self, text: str, sign: str) -> str:
        """The text with a sign behind the first character of each occurrence, also of overlapping ones."""
        places = [start + 1 for start in self._starts(text) if self._length_at(text, start)]
        return _join(text, places, sign)

    def cut_starts(self, text: str, sign: str, but: tuple[str, ...]) -> str:
        """The text with a sign behind each character with which one of the texts begins; but not in these."""
        places = [start + 1 for start in self._starts(text) if not text.startswith(but, start)]
        return _join(text, places, sign)

    def _starts(self, text: str) -> Iterator[int]:
        return iter(()) if self._start is None else (found.start() for found in self._start.finditer(text))

    def _length_at(self, text: str, start: int) -> int:
        lengths = self._lengths.get(text[start], ())
        return next((n for n in lengths if text[start : start + n] in self._texts), 0)


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
