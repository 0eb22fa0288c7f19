"""How a message is split into passages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.text.chunks import PASSAGE_TOKENS, joined, split_text, tokens_in

PROSE = " ".join(f"Sentence number {number} says something about the sea." for number in range(200))
CODE = "\n\n".join(
    f"def function_{number}(value):\n    if value:\n        return {number}\n\n    return None"
    for number in range(60)
)
TABLE = "| name | value |\n|---|---|\n" + "\n".join(
    f"| row {number} | {number * 7} |" for number in range(120)
)


@given(st.text(alphabet=" \n.ab海é1{", max_size=3000))
def test_passages_are_short_slices_that_leave_nothing_out(text: str) -> None:
    place = 0
    for passage in split_text(text):
        assert tokens_in(passage) <= PASSAGE_TOKENS + 40
        found = text.find(passage, max(0, place - 1000))
        assert found >= 0, "a passage is a slice of the text"
        assert not text[place:found].strip(), "nothing lies between two passages"
        place = max(place, found + len(passage))
    assert not text[place:].strip()


@pytest.mark.parametrize(
    "text",
    [
        "海" * 10_000,
        "ภ" * 5_000,
        "слово " * 3_000,
        "x" * 20_000,
        json.dumps({f"k{i}": i for i in range(7000)}, separators=(",", ":")),
    ],
)
def test_text_without_blanks_is_split_too(text: str) -> None:
    passages = split_text(text)
    assert len(passages) > 5
    assert max(tokens_in(passage) for passage in passages) <= PASSAGE_TOKENS + 40


def test_a_short_text_is_one_passage() -> None:
    assert split_text("  Hello there.\n") == ["Hello there."]
    assert split_text(" \n ") == []


def test_running_text_overlaps_by_whole_sentences() -> None:
    first, second, *_ = split_text(PROSE)
    last = first[first.rindex("Sentence number") :]
    assert second.startswith("Sentence number")
    assert last in second
    assert joined(first, second).count(last) == 1


def test_functions_and_rows_stay_whole() -> None:
    for passage in split_text(CODE):
        assert passage.startswith("def function_")
        assert passage.endswith("return None")
        assert "\n    if value:\n        return" in passage
    for passage in split_text(TABLE):
        assert all(line.startswith("|") and line.endswith("|") for line in passage.split("\n"))


def test_adjacent_passages_are_joined_as_they_were() -> None:
    assert joined("one two", "three") == "one two three"
    assert joined("one two", "two three") == "one two three"
    assert joined("this is what", "the sea is") == "this is what the sea is"
    assert joined("def f():\n    pass", "def g():\n    pass") == "def f():\n    pass\ndef g():\n    pass"
