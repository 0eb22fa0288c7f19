"""A text that remembers what was pasted keeps that through every change on its way."""

from __future__ import annotations

import copy
import random

import pytest

from stevemin_chat.text import Typed, edited, joined, mapped, part, quoted_in, sanitize

PASTED = Typed("see AAA end", [(4, 7, "pasted")])


def test_it_is_a_string() -> None:
    assert PASTED == "see AAA end"
    assert hash(PASTED) == hash("see AAA end")
    assert quoted_in(PASTED) == ((4, 7, "pasted"),)
    assert quoted_in("plain") == ()
    assert copy.deepcopy(PASTED).quoted == PASTED.quoted


@pytest.mark.parametrize(
    ("start", "end", "spans"),
    [(0, 11, [(4, 7)]), (5, 6, [(0, 1)]), (0, 5, [(4, 5)]), (6, 11, [(0, 1)]), (0, 4, []), (7, 11, [])],
)
def test_a_part_has_its_share(start: int, end: int, spans: list[tuple[int, int]]) -> None:
    found = part(PASTED, start, end)
    assert found == PASTED[start:end]
    assert [(first, last) for first, last, _ in found.quoted] == spans


def test_joining_moves_the_parts_and_the_separator_is_own() -> None:
    found = joined([PASTED, "x", PASTED], "--")
    assert found == "see AAA end--x--see AAA end"
    assert [found[start:end] for start, end, _ in found.quoted] == ["AAA", "AAA"]
    assert joined([Typed("a", [(0, 1, "pasted")]), Typed("b", [(0, 1, "pasted")])]).quoted == (
        (0, 2, "pasted"),
    )
    assert joined([]) == ""


def test_changing_each_part_moves_no_border() -> None:
    text = Typed("a\x1b[31mb\x07|\x1b]0;t\x07x|c\x00", [(7, 18, "piped")])
    found = mapped(text, sanitize)
    assert found == sanitize(str(text))
    assert [found[start:end] for start, end, _ in found.quoted] == [sanitize(text[7:18])]


def test_an_escape_sequence_does_not_reach_over_a_border() -> None:
    text = Typed("typed \x1b]0;" + "pasted words", [(10, 22, "pasted")])
    assert mapped(text, sanitize) == "typed pasted words"


def test_an_edit_inside_a_paste_splits_it() -> None:
    found = edited(PASTED, 5, 6, "typed")
    assert found == "see AtypedA end"
    assert found.quoted == ((4, 5, "pasted"), (10, 11, "pasted"))
    assert edited(PASTED, 4, 7, "").quoted == ()
    assert edited("abc", 1, 1, Typed("XY", [(0, 2, "pasted")])).quoted == ((1, 3, "pasted"),)


def test_spans_that_do_not_fit_are_cut_to_the_text() -> None:
    assert Typed("abc", [(-2, 1, "pasted"), (2, 9, "piped"), (1, 1, "pasted")]).quoted == (
        (0, 1, "pasted"),
        (2, 3, "piped"),
    )
    assert Typed("abcd", [(0, 3, "pasted"), (2, 4, "piped")]).quoted == ((0, 3, "pasted"), (3, 4, "piped"))


@pytest.mark.parametrize("seed", range(20))
def test_random_edits_agree_with_a_list_of_characters(seed: int) -> None:
    """Each character knows its origin; a text and its spans must say the same."""
    chance = random.Random(seed)
    text: str = Typed()
    model: list[tuple[str, str | None]] = []
    for _ in range(200):
        start, end = sorted(chance.randint(0, len(model)) for _ in range(2))
        end = min(end, start + 4)
        words = "".join(chance.choices("ab\n", k=chance.randint(0, 6)))
        origin = chance.choice([None, "pasted", "piped"])
        spans = [(0, len(words), origin)] if origin else []
        text = edited(text, start, end, Typed(words, spans))
        model[start:end] = [(char, origin) for char in words]
        origins: list[str | None] = [None] * len(text)
        for first, last, known in quoted_in(text):
            origins[first:last] = [known] * (last - first)
        assert list(zip(text, origins, strict=True)) == model
