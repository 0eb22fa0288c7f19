"""The source of a growing reply: which part may still change when more text arrives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from stevemin_chat.text import one_line, sanitize
from stevemin_chat.tui.widgets.code_block import Code

__all__ = [
    "CODE_TOKENS",
    "INNER_RULE",
    "PLACEHOLDER",
    "OpenCode",
    "first_line",
    "is_clear",
    "open_code",
    "paragraph_cut",
    "reply_parser",
]

CODE_TOKENS = ("fence", "code_block")
INNER_RULE = "inner_hr"  # token of a rule in a list or quote
PLACEHOLDER = "\x02"  # starts the line that stands for those of a code block; sanitised text has none
_CLEAR = 12  # characters; a longer first line cannot turn into the marker of another kind of block
_LINES = 40  # of a long paragraph that stay open
_MARKS = " \t>`~"  # of indentation, quotes and the end of a fence; what follows them in a line ends no block


@cache
def reply_parser() -> MarkdownIt:
    """Parses the Markdown of replies; shared, because making one takes a millisecond."""
    # With HTML on, Textual drops every block that looks like a tag, and a part of the answer would be lost.
    parser = MarkdownIt("gfm-like", {"html": False})
    parser.core.ruler.push("keep_lines", _keep_lines)
    parser.core.ruler.push("clean", _clean)
    parser.core.ruler.push("name_inner_rules", _name_inner_rules)
    return parser


@cache
def _block_parser() -> MarkdownIt:
    """Finds the same blocks without reading the text in them."""
    return MarkdownIt("gfm-like", {"html": False}).disable(["inline", "linkify", "text_join"])


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


def _name_inner_rules(state: StateCore) -> None:
    """Hide rules in lists and quotes from Textual, which would draw them as blocks of the top level."""
    for token in state.tokens:
        if token.type == "hr" and token.level:
            token.type = INNER_RULE


def _clean_inline(tokens: Sequence[Token]) -> None:
    for token in tokens:
        token.content = sanitize(token.content)
        for name, value in token.attrs.items():
            if isinstance(value, str):
                token.attrs[name] = one_line(value)
        _clean_inline(token.children or ())  # of an image: what stands for it


@dataclass(slots=True)
class OpenCode:
    """A code block to which lines may still be added. An update parses the new lines, not those before them.

    Whether a line is in a code block, and which part of it is code, depends on that line and on the lists and
    quotes around the block. So the parser gets the source down to the start of the block, then the new lines.

    Args:
        code: gets the lines.
        head: the source up to and including the line that opens the block; in an indented block, its first.
        prefix: what lists and quotes put before a line of code.
        number: tells the block from others of the same reply.
    """

    code: Code
    head: str
    prefix: str
    number: int = 0
    _unfinished: str = ""  # start of a line

    @property
    def opening(self) -> int:
        """Number of the last line of the head."""
        return self.head.count("\n") - 1

    @property
    def placeholder(self) -> str:
        """A line of code that stands for all that follow the head when the source is parsed again."""
        return f"{self.prefix}{PLACEHOLDER}{self.number}"

    def take(self, text: str) -> str | None:
        """Append lines. Returns the text after the block once it has ended, None while it is open."""
        *lines, last = (self._unfinished + text).split("\n")
        # A blank line may end a quote or be code. It is code if the placeholder below it is.
        code = self._code_in([*lines, self.placeholder, last])
        decided = bool(last.strip(_MARKS))  # else the rest of the line decides whether it is code
        if len(code) < len(lines) + 1 + decided:
            end = min(len(code), len(lines))
            self.code.extend(code[:end])
            self.code.close()
            return "\n".join([*lines[end:], last])
        self._unfinished = last
        self.code.extend(code[: len(lines)], code[-1] if decided else None)
        return None

    def _code_in(self, lines: Sequence[str]) -> list[str]:
        """The code in lines that follow the head, up to the first line outside of the block."""
        # Only the start of each line is parsed, since a line of minified JSON may have 100,000 characters.
        starts = [line[: len(line) - len(line.lstrip(_MARKS)) + 1] for line in lines]
        for token in _block_parser().parse(self.head + "\n".join(starts) + "\n"):
            if token.type in CODE_TOKENS and first_line(token) == self.opening:
                pairs = zip(_code_below(token), lines, starts, strict=False)
                return [code + line[len(start) :] for code, line, start in pairs]
        return []


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


def open_code(tokens: Sequence[Token], lines: Sequence[str]) -> OpenCode | None:
    """The code block that the source ends in; it may have ended already, which `OpenCode.take` finds out.

    None until a line shows what lists and quotes put before the code: the first one of a fence that is not
    blank, the second one of an indented block, whose first may hold the bullet of a list item.
    """
    token = next((token for token in reversed(tokens) if token.nesting >= 0), None)
    if token is None or token.type not in CODE_TOKENS or PLACEHOLDER in token.content:
        return None
    below = first_line(token) + 1
    for code, line in zip(_code_below(token), lines[below:], strict=False):
        if code.strip():
            first = token.content.split("\n")[:1] if token.type == "code_block" else []
            head = "".join(f"{line}\n" for line in lines[:below])
            return OpenCode(Code(token.info, first), head, line.removesuffix(code.lstrip()))
    return None


def _code_below(token: Token) -> list[str]:
    """The lines of a code block that follow the one that opens it."""
    lines = token.content.removesuffix("\n").split("\n") if token.content else []
    return lines[1:] if token.type == "code_block" else lines
