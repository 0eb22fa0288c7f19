"""A code block that grows is what the parser finds in the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from stevemin_chat.tui.widgets.reply_source import PLACEHOLDER, open_code, reply_parser

INDENTS = ["", " ", "  ", "   ", "    ", "\t", ">", "> ", ">\t", "> > ", ">>", "- ", "-\t", "1. ", "-     "]
WORDS = ["", " ", "```", "```py", "~~~", "``", "x", "y = 1 `z`", "# h", "-", "- a", ">", "a | b", "---"]


def section(indents: list[str], words: list[str]) -> list[str]:
    """Lines that begin alike: a bullet stands only before the first."""
    first = "".join(indents)
    others = first.replace("-", " ").replace("1.", "  ")
    return [(others if number else first) + word for number, word in enumerate(words)]


SECTIONS = st.builds(
    section,
    st.lists(st.sampled_from(INDENTS), max_size=3),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6),
)
SOURCES = st.lists(SECTIONS, max_size=5).map(lambda parts: "\n".join(line for part in parts for line in part))
SIZES = st.lists(st.integers(min_value=1, max_value=20), min_size=1, max_size=8)


def cut(source: str, sizes: Sequence[int]) -> list[str]:
    ends = [end for end, _ in zip(accumulate(cycle(sizes)), source, strict=False)]
    return [source[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def blocks(tokens: Sequence[Token]) -> list[tuple[str, int, str]]:
    return [(token.type, token.level, token.content.rstrip()) for token in tokens]


@given(SOURCES, SIZES)
def test_a_grown_code_block_is_what_the_parser_finds_in_the_whole_source(
    source: str, sizes: list[int]
) -> None:
    rest: str | None
    seen, opened, rest = "", None, ""
    for piece in [*cut(source, sizes), "\n"]:
        if opened is not None:
            rest = opened.take(piece) if rest is None else rest + piece
            continue
        seen += piece
        opened = open_code(reply_parser().parse(seen), seen.split("\n"))
        if opened is not None:
            rest = opened.take(seen[len(opened.head) :])
    if opened is None:
        return
    tokens = reply_parser().parse(f"{opened.head}{opened.placeholder}\n{rest or ''}")
    for token in tokens:
        if PLACEHOLDER in token.content:
            token.content = opened.code.text
    assert blocks(tokens) == blocks(reply_parser().parse(source))


def test_of_a_long_line_only_the_start_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_code(reply_parser().parse("> ```\n> x"), ["> ```", "> x"])
    assert opened is not None
    parsed: list[str] = []
    parse = MarkdownIt.parse

    def noted(parser: MarkdownIt, source: str) -> list[Token]:
        parsed.append(source)
        return parse(parser, source)

    monkeypatch.setattr(MarkdownIt, "parse", noted)
    line = "[" + "1, " * 10_000
    assert opened.take(f"> {line}") is None
    assert opened.code.lines == [line]
    assert 0 < sum(map(len, parsed)) < 50
