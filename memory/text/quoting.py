"""Text that somebody else may have written, made fit to stand among our own words."""

from __future__ import annotations

import re

__all__ = ["quoted"]

# Control tokens of chat templates as people know them: <|im_start|>, </s>, <start_of_turn>, [INST], [gMASK].
# The engine recognises them anywhere in a prompt, so a blank has to break them.
_MARKS = re.compile(r"<(?=[^\s<>]{1,60}>)|\[(?=/?[a-z]?[A-Z_]{2,30}\])")


def quoted(text: str) -> str:
    """A text as one line without role marks.

    Old messages, summaries and facts are data. On one line behind a name of ours they cannot pass for
    a heading, another message or another turn.
    """
    return _MARKS.sub(lambda mark: mark.group() + " ", " ".join(text.split()))
