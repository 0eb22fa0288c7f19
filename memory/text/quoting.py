"""Quoting of untrusted text inside a prompt."""

from __future__ import annotations

import re

__all__ = ["is_laid_out", "quoted", "quoted_passage"]

# Control tokens of chat templates as people know them: <|im_start|>, </s>, <start_of_turn>, [INST], [gMASK].
# The engine recognises them anywhere in a prompt, so a space must break them up.
_MARKS = re.compile(r"<(?=[^\s<>]{1,60}>)|\[(?=/?[a-z]?[A-Z_]{2,30}\])")


def quoted(text: str) -> str:
    """The text as one line without control tokens.

    Old messages, summaries and facts are data. On one line after a label of ours they cannot pass for a
    heading, another message or another turn.
    """
    return _MARKS.sub(lambda mark: mark.group() + " ", " ".join(text.split()))


def quoted_passage(text: str) -> str:
    """As `quoted`, but code and tables keep their lines, each on a line of its own that is indented.

    No line of ours is indented, so those cannot pass for one either. Then the text begins with a line break.
    """
    lines = [line for line in map(_one_line, text.expandtabs(4).splitlines()) if line]
    if not is_laid_out(text):
        return quoted(text)
    return "".join("\n    " + _MARKS.sub(lambda mark: mark.group() + " ", line) for line in lines)


def is_laid_out(text: str) -> bool:
    """Whether the lines of a text matter: it has code or a table."""
    return any(line.startswith(_LAID_OUT) for line in text.expandtabs(4).splitlines() if line.strip())


_LAID_OUT = ("  ", "```", "~~~", "|")  # how a line of code or of a table begins


def _one_line(line: str) -> str:
    """The line without characters that some would take for a line break."""
    return "".join(char if char.isprintable() else " " for char in line).rstrip()
