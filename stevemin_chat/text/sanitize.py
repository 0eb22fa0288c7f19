"""Makes untrusted text (of a model, a file, a database, a hub) safe for a terminal.

Removed: escape sequences (CSI, OSC, DCS, SOS, PM, APC, in their 7-bit and 8-bit forms), every other control
character except newline and tab, C1 included, and the bidi controls, which can reorder what is read. Lone
surrogates, which no encoding can carry, become U+FFFD; the Unicode line and paragraph separators become
newlines, because Python and the Markdown parser disagree about whether they end a line.
"""

from __future__ import annotations

import re
from enum import Enum, auto

__all__ = ["Sanitizer", "escaped", "one_line", "sanitize"]

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the characters with the property Bidi_Control
_SPECIAL = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}\u2028\u2029\ud800-\udfff]")
_STRING_END = re.compile("[\x07\n\x18\x1a\x1b\x9c]")


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()  # after ESC, intermediates may follow
    CSI = auto()
    STRING = auto()  # inside OSC, DCS, SOS, PM or APC


_AFTER_ESCAPE = {"[": _State.CSI} | dict.fromkeys("]PX^_", _State.STRING)
_C1 = {"\x1b": _State.ESCAPE, "\x9b": _State.CSI} | dict.fromkeys("\x90\x98\x9d\x9e\x9f", _State.STRING)


class Sanitizer:
    """Cleans a stream of text; an escape sequence may be split between two pieces anywhere."""

    def __init__(self) -> None:
        self._state = _State.TEXT

    def feed(self, text: str) -> str:
        """The clean part of `text`; keeps the state of an escape sequence that is still open."""
        if self._state is _State.TEXT and not _SPECIAL.search(text):
            return text
        kept: list[str] = []
        at = 0
        while at < len(text):
            if self._state is _State.TEXT:
                at = self._plain(text, at, kept)
            elif self._state is _State.STRING:
                at = self._string(text, at)
            else:
                at = self._sequence(text, at)
        return "".join(kept)

    def flush(self) -> str:
        """End the stream and drop an open escape sequence. Always returns ""."""
        self._state = _State.TEXT
        return ""

    def _plain(self, text: str, at: int, kept: list[str]) -> int:
        found = _SPECIAL.search(text, at)
        if not found:
            kept.append(text[at:])
            return len(text)
        kept.append(text[at : found.start()])
        self._state = _C1.get(found[0], _State.TEXT)
        if "\ud800" <= found[0] <= "\udfff":
            kept.append("\ufffd")
        elif found[0] in "\u2028\u2029":
            kept.append("\n")
        return found.end()

    def _string(self, text: str, at: int) -> int:
        # A newline ends the sequence, too: one that is never closed must not swallow the rest of an answer.
        found = _STRING_END.search(text, at)
        if not found:
            return len(text)
        if found[0] == "\x1b":  # ESC \ is the terminator; any other escape aborts the string and starts anew
            self._state = _State.ESCAPE
            return found.end()
        self._state = _State.TEXT
        return found.start() if found[0] == "\n" else found.end()

    def _sequence(self, text: str, at: int) -> int:
        char = text[at]
        if " " <= char <= "/" or (self._state is _State.CSI and "0" <= char <= "?"):
            return at + 1
        if "0" <= char <= "~":
            self._state = _State.TEXT if self._state is _State.CSI else _AFTER_ESCAPE.get(char, _State.TEXT)
            return at + 1
        self._state = _State.TEXT  # malformed: judge the next character by itself
        return at


def sanitize(text: str) -> str:
    """`text` without anything that can drive the terminal; may hold newlines and tabs."""
    return Sanitizer().feed(text)


def one_line(text: str) -> str:
    """`text` sanitized and on one line, its runs of white space made one space."""
    return " ".join(sanitize(text).split())


def escaped(document: str) -> str:
    """A JSON document with the characters that `sanitize` removes written as `\\uXXXX`.

    Its value stays the same. Line breaks between values stay, too: inside strings JSON escapes them anyway.
    """
    return _SPECIAL.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
