"""The Markdown of a reply that grows: an update parses and draws the open end, not what came before it.

Textual's `Markdown.append` starts from the last top-level block. That block may be a list of hundreds of
items or hold a code block of a thousand lines, so here the open end is smaller: the last item of a list, and
of an open code block nothing at all, because its lines are appended without parsing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Markdown
from textual.widgets._markdown import (
    MarkdownBlock,
    MarkdownBullet,
    MarkdownList,
    MarkdownListItem,
    MarkdownParagraph,
)

from stevemin_chat.tui.widgets.code_block import Code, CodeFence

__all__ = ["ReplyText", "reply_parser"]

_PIECE = 8_000  # characters drawn between two turns of the event loop
_CLEAR = 12  # characters after which the first line of a block cannot turn into the mark of another block
_LINES = 40  # of a paragraph that are parsed again at least
_MARK = "\x02"  # begins the line that stands for a code block; sanitised text has no control characters
_ITEM = re.compile(r" *(?:[-+*]|\d{1,9}[.)])( +|$)")


@cache
def reply_parser() -> MarkdownIt:
    # With HTML on, Textual drops every block that looks like a tag, and a part of the answer would be lost.
    parser = MarkdownIt("gfm-like", {"html": False})
    parser.core.ruler.push("keep_lines", _keep_lines)
    return parser


def _keep_lines(state: StateCore) -> None:
    """A line that ends in the text ends on the screen: models write poems and addresses this way."""
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"


@dataclass(slots=True)
class _OpenFence:
    """A code block that was not closed yet.

    Args:
        opening: number of its first line in the source it was found in.
        indent: columns below which a line leaves the list item that the block is in.
        strip: columns of indentation that are not code.
        end: what closes it.
        mark: stands for its lines in the source.
    """

    code: Code
    opening: int
    indent: int
    strip: int
    end: re.Pattern[str]
    mark: str = ""
    rest: str = ""  # of the last line, which is not complete
    closing: str = ""

    def take(self, text: str) -> str | None:
        """Append lines; gives what stands behind the block once it has ended, None before."""
        *lines, last = (self.rest + text).split("\n")
        code: list[str] = []
        for number, line in enumerate([*lines, last]):
            left = self._leaves(line)
            if left or (number < len(lines) and self.end.fullmatch(line)):
                self.closing = "" if left else f"{line}\n"
                self.code.extend(code)
                self.code.close()
                return "\n".join([*lines[number + (not left) :], last])
            if number < len(lines):
                code.append(self._stripped(line))
        self.rest = last
        closing = last.strip() and not last.strip(self.end_character + " ")
        self.code.extend(code, None if closing or not last.strip() else self._stripped(last))
        return None

    @property
    def end_character(self) -> str:
        """Of the line that closes the block."""
        return "~" if "~" in self.end.pattern else "`"

    @property
    def source(self) -> str:
        """What stands for the lines when the source is parsed again."""
        return f"{' ' * self.indent}{self.mark}\n{self.closing}"

    def finish(self) -> None:
        """No more text comes."""
        self.code.close()

    def _leaves(self, line: str) -> bool:
        return bool(line.strip()) and len(line) - len(line.lstrip(" ")) < self.indent

    def _stripped(self, line: str) -> str:
        spaces = len(line) - len(line.lstrip(" "))
        return line[min(spaces, self.strip) :]


class _Rows(MarkdownList):
    """A list, with bullets or numbers, whose earlier items stay when later ones grow."""

    DEFAULT_CSS = """
    _Rows {
        margin: 0 0 1 0;
        Horizontal, Vertical { width: 1fr; height: auto; }
    }
    """

    def __init__(self, markdown: Markdown, token: Token) -> None:
        super().__init__(markdown, token)
        self.ordered = token.type == "ordered_list_open"
        self._first = int(token.attrs.get("start", 1))
        self.open = 1  # items at the end that are parsed again

    def compose(self) -> ComposeResult:
        items = self.take_items()
        for place, item in enumerate(items):
            yield self._row(item, self._symbol(place, len(items)))

    def take_items(self) -> list[MarkdownListItem]:
        """The items that were not mounted yet; the caller mounts their blocks."""
        items = [block for block in self._blocks if isinstance(block, MarkdownListItem)]
        self._blocks.clear()
        return items

    async def regrow(self, other: Self | None) -> None:
        """Replace the open items by those of another list, or remove them."""
        rows = list(self.children)
        kept, replaced = rows[: len(rows) - self.open], rows[len(rows) - self.open :]
        items = other.take_items() if other is not None else []
        size = len(kept) + len(items)
        if replaced and items and _same_paragraph(replaced[0], items[0]):
            kept.append(replaced.pop(0))
            items.pop(0)
        if replaced:
            await self.remove_children(replaced)
        if kept and items and self._symbol(0, size) != self._symbol(0, len(rows)):
            self._number_again(kept, size)
        first = len(kept)
        await self.mount_all(
            [self._row(item, self._symbol(first + place, size)) for place, item in enumerate(items)]
        )

    def _number_again(self, rows: Sequence[Widget], size: int) -> None:
        for place, row in enumerate(rows):
            bullet = row.query_one(MarkdownBullet)
            bullet.symbol = self._symbol(place, size)
            bullet.refresh(layout=True)

    def _row(self, item: MarkdownListItem, symbol: str) -> Widget:
        bullet = MarkdownBullet()
        bullet.symbol = symbol or item.bullet
        row = Horizontal(bullet, Vertical(*item._blocks))
        item._blocks.clear()
        return row

    def _symbol(self, place: int, size: int) -> str:
        """A number, aligned at the dot; empty for the bullet that its depth gives an item."""
        if not self.ordered:
            return ""
        width = len(f"{self._first + size - 1}. ")
        return f"{self._first + place}. ".rjust(width + 1)


def _same_paragraph(row: Widget, item: MarkdownListItem) -> bool:
    """Write an item of one paragraph into a row that shows one; False if one of them is more."""
    shown = row.query_one(Vertical).children
    if len(shown) == len(item._blocks) == 1:
        old, new = shown[0], item._blocks[0]
        if isinstance(old, MarkdownParagraph) and isinstance(new, MarkdownParagraph):
            old.set_content(new._content)
            return True
    return False


class ReplyText(Markdown):
    """Markdown that only grows."""

    BLOCKS = Markdown.BLOCKS | {
        "fence": CodeFence,
        "code_block": CodeFence,
        "bullet_list_open": _Rows,
        "ordered_list_open": _Rows,
    }

    def __init__(self, *, classes: str) -> None:
        super().__init__(parser_factory=reply_parser, open_links=False, classes=classes)
        self._tail = ""  # source of what may still change
        self._open: list[MarkdownBlock] = []  # blocks that show it
        self._fence: _OpenFence | None = None
        self._codes: dict[str, Code] = {}  # blocks in the tail, by the mark that stands for their lines

    async def write(self, text: str) -> None:
        """Append text; a long one in pieces, between which the event loop turns."""
        for start in range(0, len(text), _PIECE):
            if start:
                await asyncio.sleep(0)
            await self._write(text[start : start + _PIECE])

    def finish(self) -> None:
        """No more text comes: a code block that is still open gets its final colours."""
        if self._fence is not None:
            self._fence.finish()
            self._show_fence(self._fence)

    async def _write(self, text: str) -> None:
        rest: str | None = text
        while rest:
            if self._fence is None:
                self._tail += rest
            elif (rest := self._fence.take(rest)) is None:
                self._show_fence(self._fence)
                return
            else:
                self._show_fence(self._fence)
                self._tail += self._fence.source + rest
                self._fence = None
            rest = await self._draw_tail()

    async def _draw_tail(self) -> str:
        """Parse and show the tail, and shorten it; gives the lines of a code block that it leaves open."""
        lines = self._tail.split("\n")
        tokens = reply_parser().parse(self._tail)
        if (cut := _paragraph_cut(tokens, lines)) is not None:
            await self._show(list(self._parse_markdown(reply_parser().parse("\n".join(lines[:cut])))))
            self._open.pop().add_class("-continued")
            lines = lines[cut:]
            self._tail = "\n".join(lines)
            tokens = reply_parser().parse(self._tail)
        fence = _open_fence(tokens, lines)
        rest = ""
        if fence is not None:
            rest = "\n".join(lines[fence.opening + 1 :])
            lines = [*lines[: fence.opening + 1], ""]
        for token in tokens:
            if token.type == "fence":
                self._find_code(token, fence)
        blocks = list(self._parse_markdown(tokens))
        await self._show(blocks)
        self._settle(tokens, lines)
        self._fence = fence
        if fence is not None:
            fence.mark = f"{_MARK}{len(self._codes)}"
            self._codes[fence.mark] = fence.code
        return rest

    def _find_code(self, token: Token, fence: _OpenFence | None) -> None:
        """Give a code block the lines that are there already."""
        if fence is not None and token.map is not None and token.map[0] == fence.opening:
            token.meta["code"] = fence.code
            return
        mark, _, more = token.content.partition("\n")
        known = self._codes.get(mark.strip())
        if known is not None:
            if more:  # the parser and `_OpenFence` do not agree where it ended: believe the parser
                known = Code(token.info, [*known.lines, *more.rstrip("\n").split("\n")], closed=True)
            token.meta["code"] = known

    async def _show(self, blocks: list[MarkdownBlock]) -> None:
        """Put new blocks in the place of the open ones."""
        with self.app.batch_update():
            if not self._open or not blocks:
                await self.mount_all(blocks)
                self._open += blocks
                return
            first, *others = self._open
            if others:
                await self.remove_children(others)
            kept = await self._grow(first, blocks[0])
            await self.mount_all(blocks[1:])
            self._open = [kept, *blocks[1:]]

    async def _grow(self, old: MarkdownBlock, new: MarkdownBlock) -> MarkdownBlock:
        """Change a block into a new one, or replace it; gives the one that is shown."""
        if not isinstance(old, _Rows):
            await old._update_from_block(new)
            return old if new.parent is None else new
        if isinstance(new, _Rows) and new.ordered == old.ordered:
            await old.regrow(new)
            return old
        await old.regrow(None)
        if not old.children:
            await old.remove()
        await self.mount(new)
        return new

    def _settle(self, tokens: Sequence[Token], lines: list[str]) -> None:
        """Drop from the tail what no later text can change."""
        tops = [token for token in tokens if token.level == 0 and token.nesting >= 0 and token.map]
        tops = tops[: len(self._open)]
        start, top = 0, 0
        for place, token in enumerate(tops):
            if _is_clear(token, lines):
                start, top = _first_line(token), place
        listing = self._open[top] if self._open else None
        if isinstance(listing, _Rows):
            first, last = tops[top].map or (0, 0)
            items = [t for t in tokens if t.type == "list_item_open" and t.level == 1]
            items = [item for item in items if first <= _first_line(item) < last]
            clear = [place for place, item in enumerate(items) if _is_clear(item, lines)]
            place = clear[-1] if clear else 0
            listing.open = len(items) - place
            start = _first_line(items[place])
        self._open = self._open[top:]
        self._tail = "\n".join(lines[start:])

    def _show_fence(self, fence: _OpenFence) -> None:
        for block in self._open:
            for shown in block.query(CodeFence) if not isinstance(block, CodeFence) else (block,):
                if shown.code_lines is fence.code:
                    shown.grown()


def _first_line(token: Token) -> int:
    return token.map[0] if token.map else 0


def _is_clear(token: Token, lines: Sequence[str]) -> bool:
    """Whether a block begins where it seems to begin, however its first line goes on."""
    first = _first_line(token)
    if first < len(lines) - 1:
        return True
    return first > 0 and not lines[first - 1].strip() and len(lines[first]) >= _CLEAR


def _paragraph_cut(tokens: Sequence[Token], lines: Sequence[str]) -> int | None:
    """Where to settle the first lines of a paragraph that is all there is; None while it is short."""
    if len(lines) <= 2 * _LINES or len(tokens) != 3 or tokens[0].type != "paragraph_open":
        return None
    children = tokens[1].children or []
    breaks = [child for child in children if child.type == "hardbreak"]
    if len(breaks) != tokens[1].content.count("\n"):  # code or a link goes on over the end of a line
        return None
    places = range(len(breaks) - _LINES, 0, -1)
    return next((at for at in places if breaks[at - 1].level == 0 and lines[at][:1].isalpha()), None)


def _open_fence(tokens: Sequence[Token], lines: Sequence[str]) -> _OpenFence | None:
    """The code block that the source ends in, if its lines can be told from what comes behind it."""
    place = len(tokens) - 1
    while place >= 0 and tokens[place].nesting < 0:
        place -= 1
    if place < 0 or tokens[place].type != "fence" or tokens[place].map is None:
        return None
    token = tokens[place]
    opening, behind = token.map or (0, 0)
    content = token.content.count("\n") + bool(token.content and not token.content.endswith("\n"))
    closed = behind - opening - 1 > content
    if closed or opening >= len(lines) - 1 or lines[opening + 1].lstrip().startswith(_MARK):
        return None
    indent = _item_indent(tokens[:place], lines)
    if indent is None or "\t" in lines[opening][: indent + 4]:
        return None
    strip = max(indent, lines[opening].index(token.markup))
    character, least = token.markup[0], len(token.markup)
    return _OpenFence(
        code=Code(token.info),
        opening=opening,
        indent=indent,
        strip=strip,
        end=re.compile(f" {{0,{indent + 3}}}{character}{{{least},}}[ \t]*"),
    )


def _item_indent(tokens: Sequence[Token], lines: Sequence[str]) -> int | None:
    """Columns of the text of the innermost open list item; 0 outside of lists, None where it is not plain."""
    containers: list[Token] = []
    for token in tokens:
        if token.type in ("list_item_open", "blockquote_open"):
            containers.append(token)
        elif token.type in ("list_item_close", "blockquote_close"):
            containers.pop()
    if not containers:
        return 0
    starts = [_first_line(token) for token in containers]
    if len(set(starts)) < len(starts) or any(token.type == "blockquote_open" for token in containers):
        return None
    line = lines[starts[-1]]
    found = _ITEM.match(line)
    if found is None or "\t" in line[: found.end() + 1]:
        return None
    return found.end() if 1 <= len(found[1]) <= 4 else found.end() - len(found[1]) + 1
