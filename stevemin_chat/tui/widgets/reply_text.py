"""The Markdown of a growing reply: an update parses and draws the open end, not what came before it.

Textual's `Markdown.append` parses from the start of the last top-level block, which may be a list of hundreds
of items or contain a code block of a thousand lines. Here the open end is smaller: the last item of a list,
the last lines of a long paragraph, and of a code block only the lines that are new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

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

from stevemin_chat.chats import Entry
from stevemin_chat.tui.widgets.code_block import Code, CodeFence
from stevemin_chat.tui.widgets.reply_source import (
    CODE_TOKENS,
    INNER_RULE,
    PLACEHOLDER,
    OpenCode,
    first_line,
    is_clear,
    open_code,
    paragraph_cut,
    reply_parser,
)

__all__ = ["ReplyText"]

_PIECE = 4_000  # characters drawn between two turns of the event loop


class _Rows(MarkdownList):
    """A list with bullets or numbers. Items that are complete stay mounted while the last one grows."""

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
        self.open = 1  # items at the end that may still change

    def compose(self) -> ComposeResult:
        items = self.take_items()
        for place, item in enumerate(items):
            yield self._row(item, self._symbol(place, len(items)))

    def take_items(self) -> list[MarkdownListItem]:
        """Hand over the items, which are not mounted yet."""
        items = [block for block in self._blocks if isinstance(block, MarkdownListItem)]
        self._blocks.clear()
        return items

    async def regrow(self, other: Self | None) -> None:
        """Replace the open items by those of another list; None removes them."""
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
        """The number of an item, aligned at the dot; empty in a list with bullets."""
        if not self.ordered:
            return ""
        width = len(f"{self._first + size - 1}. ")
        return f"{self._first + place}. ".rjust(width + 1)


def _same_paragraph(row: Widget, item: MarkdownListItem) -> bool:
    """Update a row in place where both it and the item are one paragraph; False otherwise."""
    shown = row.query_one(Vertical).children
    if len(shown) == len(item._blocks) == 1:
        old, new = shown[0], item._blocks[0]
        if isinstance(old, MarkdownParagraph) and isinstance(new, MarkdownParagraph):
            old.set_content(new._content)
            return True
    return False


class ReplyText(Markdown):
    """Markdown that only grows: the text of a reply.

    Args:
        entry: the reply whose text `catch_up` draws.
    """

    BLOCKS = Markdown.BLOCKS | {
        "fence": CodeFence,
        "code_block": CodeFence,
        "bullet_list_open": _Rows,
        "ordered_list_open": _Rows,
    }

    def __init__(self, entry: Entry | None = None, *, classes: str) -> None:
        super().__init__(parser_factory=reply_parser, open_links=False, classes=classes)
        self._entry = entry
        self._drawn = 0  # characters of the entry
        self._tail = ""  # source that may still change the blocks it is shown by
        self._open: list[MarkdownBlock] = []  # these blocks
        self._open_code: OpenCode | None = None  # at the end of the tail
        self._codes: list[Code] = []  # placeholders stand for their lines in the tail

    async def catch_up(self) -> bool:
        """Draw what the entry has more than is drawn; False if there is nothing."""
        text = self._entry.text if self._entry is not None else ""
        start, self._drawn = self._drawn, len(text)
        await self.write(text[start:])
        return self._drawn > start

    async def write(self, text: str) -> None:
        """Append text. Between the pieces of a long one, the event loop turns."""
        for start in range(0, len(text), _PIECE):
            if start:
                await asyncio.sleep(0)
            await self._write(text[start : start + _PIECE])

    async def finish(self) -> None:
        """End the text: a code block that is still open gets its final colours."""
        if self._open_code is not None:
            await self._write("\n")  # the last line is complete: it is code, or it ends the block
        if self._open_code is not None:
            self._open_code.code.close()
            self._show_code(self._open_code)

    def unhandled_token(self, token: Token) -> MarkdownBlock | None:
        """The block of a token that Textual does not know."""
        return self.get_block_class("hr")(self, token) if token.type == INNER_RULE else None

    async def _write(self, text: str) -> None:
        rest: str | None = text
        while rest:
            if self._open_code is None:
                self._tail += rest
            elif (rest := self._open_code.take(rest)) is None:
                self._show_code(self._open_code)
                return
            else:
                self._show_code(self._open_code)
                self._tail += f"{self._open_code.placeholder}\n{rest}"
                self._open_code = None
            rest = await self._draw_tail()

    async def _draw_tail(self) -> str:
        """Parse and show the tail, then shorten it. Returns the lines of a code block that it leaves open."""
        lines = self._tail.split("\n")
        tokens = reply_parser().parse(self._tail)
        if (cut := paragraph_cut(tokens, lines)) is not None:
            await self._show(list(self._parse_markdown(reply_parser().parse("\n".join(lines[:cut])))))
            self._open.pop().add_class("-continued")
            lines = lines[cut:]
            self._tail = "\n".join(lines)
            tokens = reply_parser().parse(self._tail)
        opened = open_code(tokens, lines)
        rest = ""
        if opened is not None:
            rest = self._tail[len(opened.head) :]
            lines = opened.head.split("\n")
        for token in tokens:
            if token.type in CODE_TOKENS:
                self._find_code(token, opened)
        blocks = list(self._parse_markdown(tokens))
        await self._show(blocks)
        self._settle(tokens, lines)
        self._open_code = opened
        if opened is not None:
            opened.head, opened.number = self._tail, len(self._codes)
            self._codes.append(opened.code)
        return rest

    def _find_code(self, token: Token, opened: OpenCode | None) -> None:
        """Give a code block that is parsed again the lines it has."""
        _, found, number = token.content.partition(PLACEHOLDER)
        if found:
            token.meta["code"] = self._codes[int(number)]
        elif opened is not None and first_line(token) == opened.opening:
            token.meta["code"] = opened.code

    async def _show(self, blocks: list[MarkdownBlock]) -> None:
        """Replace the open blocks by new ones."""
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
        """Turn a block into a new one, in place where possible. Returns the one that is mounted."""
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
        """Drop from the tail, and from the open blocks, what no later text can change."""
        tops = [token for token in tokens if token.level == 0 and token.nesting >= 0 and token.map]
        tops = tops[: len(self._open)]
        start, top = 0, 0
        for place, token in enumerate(tops):
            if is_clear(token, lines):
                start, top = first_line(token), place
        listing = self._open[top] if self._open else None
        if isinstance(listing, _Rows):
            first, last = tops[top].map or (0, 0)
            items = [t for t in tokens if t.type == "list_item_open" and t.level == 1]
            items = [item for item in items if first <= first_line(item) < last]
            clear = [place for place, item in enumerate(items) if is_clear(item, lines)]
            place = clear[-1] if clear else 0
            listing.open = len(items) - place
            start = first_line(items[place])
        self._open = self._open[top:]
        self._tail = "\n".join(lines[start:])

    def _show_code(self, opened: OpenCode) -> None:
        for block in self._open:
            for shown in block.query(CodeFence) if not isinstance(block, CodeFence) else (block,):
                if shown.code_lines is opened.code:
                    shown.grown()
