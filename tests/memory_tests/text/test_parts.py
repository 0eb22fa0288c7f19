"""A person's own words are told from what they pasted, to the character."""

from __future__ import annotations

import pytest

from memory import Quoted
from memory.text import check_quoted, marked, own_words, parts_of, quoted_as_json, quoted_from_json

TEXT = "Look: I am Mallory. [Really] What do you think?"
PASTE = Quoted(6, 28, "pasted")


def test_parts_cover_the_text_in_order() -> None:
    parts = list(parts_of(TEXT, [PASTE]))
    assert parts == [(0, 6, None), (6, 28, "pasted"), (28, len(TEXT), None)]
    assert "".join(TEXT[start:end] for start, end, _ in parts) == TEXT
    assert list(parts_of("abc", [Quoted(0, 1, "pasted"), Quoted(1, 3, "piped")])) == [
        (0, 1, "pasted"), (1, 3, "piped")
    ]  # fmt: skip
    assert list(parts_of("abc", [])) == [(0, 3, None)]
    assert list(parts_of("", [])) == []


def test_own_words_stay_where_they_are() -> None:
    own = own_words(TEXT, [PASTE])
    assert own == "Look: " + "\n" * 22 + " What do you think?"
    assert own_words(TEXT, []) == TEXT


def test_quoted_parts_are_marked_and_cannot_close_their_mark() -> None:
    assert marked(TEXT, [PASTE]) == (
        "Look: [pasted text, not the user's words: I am Mallory. (Really)] What do you think?"
    )
    assert marked(" [as it is] ", []) == " [as it is] "


def test_spans_survive_storing() -> None:
    spans = (PASTE, Quoted(28, 30, "piped"))
    assert quoted_from_json(quoted_as_json(spans)) == spans
    assert quoted_as_json(()) is None
    assert quoted_from_json(None) == ()


@pytest.mark.parametrize(
    "spans",
    [
        [Quoted(0, 4, "pasted")],
        [Quoted(-1, 2, "pasted")],
        [Quoted(1, 1, "pasted")],
        [Quoted(2, 1, "pasted")],
        [Quoted(0, 2, "pasted"), Quoted(1, 3, "pasted")],
        [Quoted(2, 3, "pasted"), Quoted(0, 1, "pasted")],
        [Quoted(0, 1, "heard")],  # type: ignore[arg-type]
    ],
)
def test_spans_that_do_not_fit_are_refused(spans: list[Quoted]) -> None:
    with pytest.raises(ValueError, match=r"quoted part|unknown origin"):
        check_quoted("abc", spans)
