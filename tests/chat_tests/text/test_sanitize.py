from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stevemin_chat.text.sanitize import Sanitizer, sanitize

_PARTS = (
    *("\x1b", "\x1b[", "\x1b]", "\x1bP", "\x9b", "\x9d", "\x9c", "\x07", "\x1b\\", "\r", "\r\n", "\n"),
    *("31m", "0;title", "8;;http://x", "\u202e", "\u2066", "\x00", "\x85", "\x7f", "?25l", "\ud800"),
    *("\t", "\u2028"),
)
_NASTY = st.lists(st.one_of(st.text(max_size=6), st.sampled_from(_PARTS)), max_size=30).map("".join)
_REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("plain *text*\n\tindented — 日本", "plain *text*\n\tindented — 日本"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[?25l\x1b[2J\x1b[10;20Hx", "x"),
        ("\x1b]0;owned\x07after", "after"),
        ("\x1b]52;c;cm0gLXJm\x1b\\after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r0m\x1b\\dcs\x1b_apc\x1b\\!", "dcs!"),
        ("\x9b31mc1\x9d0;title\x9c!", "c1!"),
        ("one\r\ntwo\rthree", "one\ntwothree"),
        ("a\x00b\x08c\x7fd\x85e", "abcde"),
        ("user\u202egnp.exe\u202c \u2066x\u2069", "usergnp.exe x"),
        ("\x1b(Bcharset\x1b=\x1bc", "charset"),
        ("\x1b]0;never closed\nthe answer goes on", "\nthe answer goes on"),
        ("\x1b\x1b[1mbold", "bold"),
        ("\x1b]0;a\x1b[1mb", "b"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("cut \x1b[38;5", "cut "),
        ("line\u2028separated\u2029text", "line\nseparated\ntext"),
    ],
)
def test_removes_sequences_and_keeps_text(dirty: str, clean: str) -> None:
    assert sanitize(dirty) == clean


@given(_NASTY)
def test_output_never_holds_a_control_character(text: str) -> None:
    for char in sanitize(text):
        assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(char) not in _REORDERING


@given(_NASTY, st.lists(st.integers(min_value=0, max_value=60), max_size=12))
def test_any_chunking_gives_the_same_text(text: str, cuts: list[int]) -> None:
    cleaner = Sanitizer()
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [cleaner.feed(text[a:b]) for a, b in itertools.pairwise(edges)]
    assert "".join(pieces) + cleaner.flush() == sanitize(text)


@given(_NASTY)
def test_clean_text_stays_as_it_is(text: str) -> None:
    once = sanitize(text)
    assert sanitize(once) == once


def test_flush_forgets_an_open_sequence() -> None:
    cleaner = Sanitizer()
    assert cleaner.feed("a\x1b[3") == "a"
    assert cleaner.flush() == ""
    assert cleaner.feed("1m") == "1m"
