"""llama.cpp's GBNF to the Lark dialect of llguidance.

llguidance splits a text into lexemes, longest match first, before it parses; GBNF knows only characters. To
mean the same in both, each character becomes its own lexeme. (llguidance's own converter turns whole rules
into lexemes: its `[a-z]+ "x"` can never end, because the letters consume the x.)
"""

from __future__ import annotations

import re
from collections.abc import Callable

from engine.errors import InvalidRequest

__all__ = ["gbnf_to_lark"]

_MAX_REPETITIONS = 2000  # llama.cpp's own limit
_MAX_DEPTH = 20  # brackets inside brackets
_ANY = r"/[\u{0}-\u{10FFFF}]/"
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_NAME = re.compile(r"[a-zA-Z0-9-]+")
_REPEAT = re.compile(r"([*+?])|\{\s*(\d{1,10})\s*(?:(,)\s*(\d{1,10})?\s*)?\}")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([trn\\\"\[\]-]))")
_CONTROL = {"t": "\t", "r": "\r", "n": "\n"}


def gbnf_to_lark(source: str) -> str:
    """Convert a grammar that starts at the rule `root`.

    Raises:
        InvalidRequest: it is not GBNF, or repeats or nests too much; the message names the line.
    """
    return _Parser(source).parse()


class _Parser:
    """Recursive descent that writes Lark as it reads."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._rules: dict[str, str] = {}
        self._used: dict[str, int] = {"root": 0}  # name -> where it was first used

    def parse(self) -> str:
        self._skip(_SPACE_AND_LINES)
        while self._at < len(self._source):
            self._rule()
        for name, start in self._used.items():
            if name not in self._rules:
                self._at = start
                raise self._error(f"no rule {name!r}")
        numbers = {name: f"r{number}" for number, name in enumerate(self._rules)} | {"root": "start"}
        rules = [f"{numbers[name]}: {body}" for name, body in self._rules.items()]
        named = re.sub(r"<([a-zA-Z0-9-]+)>", lambda match: numbers[match[1]], "\n".join(rules))
        return f"%llguidance {{}}\n{named}\n"

    def _rule(self) -> None:
        name = self._take(_NAME)
        if name is None:
            raise self._error("expected a rule")
        if name in self._rules:
            raise self._error(f"duplicate rule {name!r}")
        self._skip(_SPACE)
        if not self._source.startswith("::=", self._at):
            raise self._error("expected '::='")
        self._at += 3
        self._skip(_SPACE_AND_LINES)
        self._rules[name] = self._alternatives(0)
        if self._peek() not in ("", "\r", "\n"):
            raise self._error(f"unexpected {self._peek()!r}")
        self._skip(_SPACE_AND_LINES)

    def _alternatives(self, depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise self._error(f"more than {_MAX_DEPTH} nested brackets")
        found = [self._sequence(depth)]
        while self._peek() == "|":
            self._at += 1
            self._skip(_SPACE_AND_LINES)
            found.append(self._sequence(depth))
        return " | ".join(found)

    def _sequence(self, depth: int) -> str:
        space = _SPACE_AND_LINES if depth else _SPACE
        items: list[str] = []
        while (item := self._item(depth)) is not None:
            self._skip(space)
            if (match := _REPEAT.match(self._source, self._at)) is not None:
                item = f"({item}){self._repeat(match)}"
                self._skip(space)
            items.append(item)
        return " ".join(items) or '""'

    def _item(self, depth: int) -> str | None:
        readers: dict[str, Callable[[], str]] = {
            '"': self._literal,
            "[": self._class,
            "(": lambda: self._group(depth),
        }
        first = self._peek()
        if first in readers:
            self._at += 1
            return readers[first]()
        if first == ".":
            self._at += 1
            return _ANY
        start = self._at
        name = self._take(_NAME)
        if name is None:
            return None
        self._used.setdefault(name, start)
        return f"<{name}>"

    def _literal(self) -> str:
        characters = []
        while self._peek() != '"':
            characters.append(f"/{_written(self._character())}/")
        self._at += 1
        return " ".join(characters) or '""'

    def _class(self) -> str:
        sign = "^" if self._peek() == "^" else ""
        self._at += len(sign)
        ranges = []
        while self._peek() != "]":
            low = high = self._character()
            if self._peek() == "-" and self._source[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = self._character()
            if low > high:
                raise self._error("a character range is reversed")
            ranges.append(f"{_written(low)}-{_written(high)}")
        if not ranges:
            raise self._error("a character class is empty")
        self._at += 1
        return f"/[{sign}{''.join(ranges)}]/"

    def _group(self, depth: int) -> str:
        self._skip(_SPACE_AND_LINES)
        inner = self._alternatives(depth + 1)
        if self._peek() != ")":
            raise self._error("expected ')'")
        self._at += 1
        return f"({inner})"

    def _repeat(self, match: re.Match[str]) -> str:
        sign, least, comma, most = match.groups()
        if sign is None:
            low = int(least)
            high = low if comma is None else int(most or low)
            if max(low, high) > _MAX_REPETITIONS:
                raise self._error(f"a repetition exceeds {_MAX_REPETITIONS}")
            if low > high:
                raise self._error("the maximum of a repetition is below its minimum")
            sign = f"{{{low},}}" if comma and not most else f"{{{low},{high}}}"
        self._at = match.end()
        return str(sign)

    def _character(self) -> int:
        first = self._peek()
        if first in ("", "\r", "\n"):
            raise self._error("an unterminated quote or character class")
        if first != "\\":
            self._at += 1
            return ord(first)
        match = _ESCAPE.match(self._source, self._at)
        if match is None:
            raise self._error("an unknown escape")
        code = match[1] or match[2] or match[3]
        value = int(code, 16) if code else ord(_CONTROL.get(match[4], match[4]))
        if value > 0x10FFFF or 0xD800 <= value < 0xE000:
            raise self._error("an escape that is no character")
        self._at = match.end()
        return value

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self._source, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match[0]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _error(self, what: str) -> InvalidRequest:
        line = self._source.count("\n", 0, self._at) + 1
        return InvalidRequest(f"The grammar is not valid: {what} (line {line}).")


def _written(character: int) -> str:
    return f"\\u{{{character:X}}}"
