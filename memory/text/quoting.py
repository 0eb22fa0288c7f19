"""Quoting of untrusted text inside a prompt."""

from __future__ import annotations

import re

__all__ = ["quoted"]

# Control tokens of chat templates as people know them: <|im_start|>, </s>, <start_of_turn>, [INST], [gMASK].
# The engine recognises them anywhere in a prompt, so a space must break them up.
_MARKS = re.compile(r"<(?=[^\s<>]{1,60}>)|\[(?=/?[a-z]?[A-Z_]{2,30}\])")


def quoted(text: str) -> str:
    """The text as one line without control tokens.

    Old messages, summaries and facts are data. On one line after a label of ours they cannot pass for a
    heading, another message or another turn.
    """
    return _MARKS.sub(lambda mark: mark.group() + " ", " ".join(text.split()))
