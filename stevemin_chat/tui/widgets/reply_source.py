"""The source of a growing reply: which part may still change when more text arrives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from stevemin_chat.text import one_line, sanitize
from stevemin_chat.tui.widgets.code_block import Code

__all__ = [
    "PLACEHOLDER",
    "OpenFence",
    "first_line",
    "is_clear",
    "open_fence",
    "paragraph_cut",
    "reply_parser",
]

PLACEHOLDER = "\x02"  # starts the line that stands for those of a code block; sanitised text has none
_CLEAR = 12  # characters; a longer first line cannot turn into the marker of another kind of block
_LINES = 40  # of a long paragraph that stay open
_ITEM = re.compile(r" *(?:[-+*]|\d{1,9}[.)])( +|$)")


@cache
def reply_parser() -> MarkdownIt:
    """Parses the Markdown of replies; shared, because making one takes a millisecond."""
    # With HTML on, Textual drops every block that looks like a tag, and a part of the answer would be lost.
    parser = MarkdownIt("gfm-like", {"html": False})
    parser.core.ruler.push("keep_lines", _keep_lines)
    parser.core.ruler.push("clean", _clean)
    return parser


def _keep_lines(state: StateCore) -> None:
    """A line that ends in the text ends on the screen: models write poems and addresses this way."""
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"


def _clean(state: StateCore) -> None:
    """Remove what a character reference brings in: `&#x202E;` passed the sanitiser as plain letters."""
    for token in state.tokens:
        _clean_inline(token.children or ())


def _clean_inline(tokens: Sequence[Token]) -> None:
    for token in tokens:
        token.content = sanitize(token.content)
        for name, value in token.attrs.items():
            if isinstance(value, str):
                token.attrs[name] = one_line(value)
        _clean_inline(token.children or ())  # of an image: what stands for it


@dataclass(slots=True)
class OpenFence:
    """A code block that is not closed yet. Its lines are appended to `code` without parsing.

    Args:
        opening: number of its first line in the source.
        indent: columns of the list item that contains it; a line with fewer ends both.
        strip: columns of indentation that are not part of the code.
        marker: the character of its fence, "`" or "~".
        end: matches the line that closes it.
        placeholder: stands for its lines when the source is parsed again.
    """

    code: Code
    opening: int
    indent: int
    strip: int
    marker: str
    end: re.Pattern[str]
    placeholder: str = ""
    _unfinished: str = ""  # start of a line
    _closing: str = ""  # the line that closed it

    def take(self, text: str) -> str | None:
        """Append lines. Returns the text after the block once it has ended, None while it is open."""
        *lines, last = (self._unfinished + text).split("\n")
        code: list[str] = []
        for number, line in enumerate(map(self._spaced, [*lines, last])):
            left = self._leaves(line)
            if left or (number < len(lines) and self.end.fullmatch(line)):
                self._closing = "" if left else f"{line}\n"
                self.code.extend(code)
                self.code.close()
                return "\n".join([*lines[number + (not left) :], last])
            if number < len(lines):
                code.append(self._stripped(line))
        self._unfinished = last
        may_close = not last.strip(f"{self.marker} ")  # also an empty line: it is shown with the next one
        self.code.extend(code, None if may_close else self._stripped(self._spaced(last)))
        return None

    @property
    def source(self) -> str:
        """What follows the opening line when the source is parsed again."""
        return f"{' ' * self.indent}{self.placeholder}\n{self._closing}"

    def _spaced(self, line: str) -> str:
        """The line with the tabs of its indentation as spaces, since some may not be code."""
        if not self.strip or "\t" not in line:
            return line
        code = line.lstrip(" \t")
        return line[: len(line) - len(code)].expandtabs(4) + code

    def _leaves(self, line: str) -> bool:
        return bool(line.strip()) and len(line) - len(line.lstrip(" ")) < self.indent

    def _stripped(self, line: str) -> str:
        spaces = len(line) - len(line.lstrip(" "))
        return line[min(spaces, self.strip) :]


def first_line(token: Token) -> int:
    """Number of a block's first line in the source."""
    return token.map[0] if token.map else 0


def is_clear(token: Token, lines: Sequence[str]) -> bool:
    """Whether a block certainly begins at this line, however the line continues."""
    first = first_line(token)
    if first < len(lines) - 1:
        return True
    return first > 0 and not lines[first - 1].strip() and len(lines[first]) >= _CLEAR


def paragraph_cut(tokens: Sequence[Token], lines: Sequence[str]) -> int | None:
    """The line at which to split a source that is one long paragraph; None where it should stay whole."""
    if len(lines) <= 2 * _LINES or len(tokens) != 3 or tokens[0].type != "paragraph_open":
        return None
    children = tokens[1].children or []
    breaks = [child for child in children if child.type == "hardbreak"]
    if len(breaks) != tokens[1].content.count("\n"):  # code or a link spans lines
        return None
    places = range(len(breaks) - _LINES, 0, -1)
    return next((at for at in places if breaks[at - 1].level == 0 and lines[at][:1].isalpha()), None)


def open_fence(tokens: Sequence[Token], lines: Sequence[str]) -> OpenFence | None:
    """The code block that the source ends in.

    Also None if its end cannot be found line by line: in a quote, or with tabs in the indentation. Such a
    block is parsed from its start for each update, which costs more the longer it is.
    """
    place = len(tokens) - 1
    while place >= 0 and tokens[place].nesting < 0:
        place -= 1
    if place < 0 or tokens[place].type != "fence" or tokens[place].map is None:
        return None
    token = tokens[place]
    opening, behind = token.map or (0, 0)
    content = token.content.count("\n") + bool(token.content and not token.content.endswith("\n"))
    closed = behind - opening - 1 > content
    if closed or opening >= len(lines) - 1 or lines[opening + 1].lstrip().startswith(PLACEHOLDER):
        return None
    indent = _item_indent(tokens[:place], lines)
    if indent is None or "\t" in lines[opening][: indent + 4]:
        return None
    marker, least = token.markup[0], len(token.markup)
    return OpenFence(
        code=Code(token.info),
        opening=opening,
        indent=indent,
        strip=max(indent, lines[opening].index(token.markup)),
        marker=marker,
        end=re.compile(f" {{0,{indent + 3}}}{marker}{{{least},}}[ \t]*"),
    )


def _item_indent(tokens: Sequence[Token], lines: Sequence[str]) -> int | None:
    """Columns that indent the innermost open list item; 0 outside of lists, None where they are unclear."""
    containers: list[Token] = []
    for token in tokens:
        if token.type in ("list_item_open", "blockquote_open"):
            containers.append(token)
        elif token.type in ("list_item_close", "blockquote_close"):
            containers.pop()
    if not containers:
        return 0
    starts = [first_line(token) for token in containers]
    if len(set(starts)) < len(starts) or any(token.type == "blockquote_open" for token in containers):
        return None
    line = lines[starts[-1]]
    found = _ITEM.match(line)
    if found is None or "\t" in line[: found.end() + 1]:
        return None
    return found.end() if 1 <= len(found[1]) <= 4 else found.end() - len(found[1]) + 1
