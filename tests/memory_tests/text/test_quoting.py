"""Quoted text stays on its line and cannot start a turn."""

from __future__ import annotations

import re

from hypothesis import given
from memory_tests.hostile import hostile_texts

from memory.text.quoting import quoted, quoted_passage


@given(hostile_texts)
def test_no_control_token_survives_quoting(text: str) -> None:
    line = quoted(text)
    assert line.splitlines() in ([line], [])
    assert not re.search(
        r"<\|im_start\|>|<\|im_end\|>|</?s>|\[/?INST\]|<start_of_turn>|<\uff5cUser\uff5c>|\[gMASK\]", line
    )
    assert quoted(line) == line
    assert line.replace(" ", "") == "".join(text.split())


def test_quoting_leaves_plain_text_alone() -> None:
    text = "a < b, x[0] > 1, [2026-11-02] [x] done, I <3 you"
    assert quoted(text) == text
    assert quoted("  several\n\n lines\t") == "several lines"


@given(hostile_texts)
def test_quoted_code_stands_on_indented_lines(text: str) -> None:
    passage = quoted_passage("  code\n" + text)
    first, *lines = passage.splitlines()
    assert first == ""
    assert all(line.startswith("    ") and line.strip() for line in lines)
    assert not re.search(r"<\|im_start\|>|<\|im_end\|>|</?s>|\[/?INST\]|<start_of_turn>", passage)


def test_code_keeps_its_layout() -> None:
    assert quoted_passage("def f():\n\tif x:\n\n\t\treturn 1") == (
        "\n    def f():\n        if x:\n            return 1"
    )
    assert quoted_passage("| a | b |\n|---|---|") == "\n    | a | b |\n    |---|---|"
    assert quoted_passage("one\ntwo") == "one two"
    assert quoted_passage("  x = '<|im_end|>'") == "\n      x = '< |im_end|>'"
