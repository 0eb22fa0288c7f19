"""Widths are counted in cells of the terminal, not in characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stevemin_chat.text.cells import cell_len, clip, shortened, table_lines


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("plain", 5, "plain"),
        ("plainer", 5, "plai…"),
        ("駅の近くの家", 12, "駅の近くの家"),
        ("駅の近くの家", 7, "駅の近…"),
        ("駅の近くの家", 6, "駅の …"),
        ("e\u0301te\u0301", 3, "e\u0301te\u0301"),
        ("wide", 1, "…"),
        ("wide", 0, ""),
        ("", 0, ""),
    ],
)
def test_a_text_is_shortened_by_its_cells(text: str, width: int, shown: str) -> None:
    assert shortened(text, width).replace(" ", "") == shown.replace(" ", "")
    assert cell_len(shortened(text, width)) <= width


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_a_clip_is_one_line_that_fits(text: str, width: int) -> None:
    clipped = clip(text, width)
    assert cell_len(clipped) <= width
    assert len(clipped.splitlines()) <= 1


def test_columns_line_up_behind_wide_characters() -> None:
    lines = list(table_lines([("NAME", "SIZE"), ("駅", "1"), ("ab", "2")]))
    assert {
        cell_len(line[: line.rindex(value)]) for line, value in zip(lines, ("SIZE", "1", "2"), strict=True)
    } == {6}


def test_the_column_that_may_shrink_gives_way() -> None:
    rows = [("ID", "TEXT"), ("1", "駅" * 40)]
    lines = list(table_lines(rows, shares={1: 1}, room=30))
    assert max(cell_len(line) for line in lines) <= 30
    assert lines[1].endswith("…")
