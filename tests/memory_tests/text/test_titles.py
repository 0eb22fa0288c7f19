"""Titles from messages, and text that can be stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory import Memory
from memory.text.titles import TITLE_CHARACTERS, storable, title_from


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Short", "Short"),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 39 + "…"),
        ("How long does the dough rest, and in which bowl?", "How long does the dough rest, and in…"),
        ("one, two, three, four, five, six, seven eight", "one, two, three, four, five, six, seven…"),
        ("  first line\n\nsecond\tline ", "first line second line"),
        ("\x1b]0;evil\x07title", "]0;evil title"),
        ("\x1b\x00", ""),
    ],
)
def test_titles_from_text(text: str, title: str) -> None:
    assert title_from(text) == title
    assert Memory.title_from(text) == title


@given(st.text())
def test_every_title_is_one_short_clean_line(text: str) -> None:
    title = title_from(text)
    assert len(title) <= TITLE_CHARACTERS
    assert title == " ".join(title.split())
    assert all(char.isprintable() or char == " " or ord(char) > 0x9F for char in title)


@given(st.text())
def test_storable_text_is_the_same_text(text: str) -> None:
    assert storable(text) == text


def test_lone_surrogates_are_replaced() -> None:
    assert storable("a\udcffb") == "a\ufffdb"
    assert storable("\ud83c\udf5e") == "\N{BREAD}"
