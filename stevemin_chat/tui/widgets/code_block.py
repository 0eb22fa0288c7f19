"""A code block of a reply, drawn line by line: the cost of an update depends on what is new or visible.

Textual's own block highlights, wraps and draws all of its text whenever a word arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from functools import lru_cache

from markdown_it.token import Token
from pygments.lexer import DelegatingLexer, Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import _TokenType
from pygments.util import ClassNotFound
from rich.cells import cell_len
from rich.segment import Segment
from textual.app import ComposeResult
from textual.content import Content, Span
from textual.geometry import Size
from textual.highlight import ANSIDarkHighlightTheme, ANSILightHighlightTheme, HighlightTheme
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual
from textual.widget import Widget
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownBlock, MarkdownFence
from textual.worker import Worker

__all__ = ["Code", "CodeFence", "CodeLines"]

_CHUNK = 32  # lines highlighted together when one of them is drawn
_CONTEXT = 32  # lines before a chunk that are read with it: a string or comment may have begun there
_SLICE = 64  # lines of the final pass between two turns of the event loop
_TAB = 8
_LONG = 2_000  # characters; a longer line, such as minified JSON, has no colours
_PIECE = 512  # characters of a long line that are drawn as one segment


class _LongLine:
    """A line that is only read where it has grown.

    Attributes:
        pieces: its text without tabs.
        width: in cells.
    """

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.width = 0
        self._read = 0  # characters
        self._column = 0  # in characters, as `str.expandtabs` counts

    def grow(self, line: str) -> None:
        """Take the line as it is now; what was read before has not changed."""
        for start in range(self._read, len(line), _PIECE):
            column = self._column % _TAB
            piece = (" " * column + line[start : start + _PIECE]).expandtabs(_TAB)[column:]
            self._column += len(piece)
            self.width += cell_len(piece)
            if self.pieces and len(self.pieces[-1]) + len(piece) <= _PIECE:
                self.pieces[-1] += piece
            else:
                self.pieces.append(piece)
        self._read = len(line)


class Code:
    """The lines of a block, which may still be growing, and their colours.

    While the block grows, the chunk of a line that is drawn is highlighted by itself; a string or comment
    longer than `_CONTEXT` lines may have the wrong colour there. `finish_highlighting` corrects it. A line of
    more than `_LONG` characters has no colours: an update measures and draws only what is new of it.

    Attributes:
        lines: as the model wrote them, without the indentation of the block.
        width: of the longest line, in cells.
        closed: no more lines come.
    """

    def __init__(self, language: str, lines: Iterable[str] = (), *, closed: bool = False) -> None:
        self.lines: list[str] = []
        self.width = 0
        self.closed = closed
        self._language = (language.split() or [""])[0]
        self._unfinished = False  # the last line may still grow
        self._long: dict[int, _LongLine] = {}  # by number
        self._chunks: dict[int, list[Content]] = {}
        self._final: list[Content] = []
        self._next: list[Content] = []  # what will be final when it is complete
        self._theme: type[HighlightTheme] = HighlightTheme
        self.extend(lines)

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)

    def extend(self, lines: Iterable[str], unfinished: str | None = None) -> None:
        """Append whole lines, and the part of the next one that has arrived."""
        if self._unfinished:
            self.lines.pop()
        first = changed = len(self.lines)
        if first in self._long:
            changed += 1  # its colours, which are none, stay
        self.lines.extend(lines)
        self._unfinished = unfinished is not None
        if unfinished is not None:
            self.lines.append(unfinished)
        for number, line in enumerate(self.lines[first:], first):
            self.width = max(self.width, self._measured(number, line))
        for chunk in range(changed // _CHUNK, len(self.lines) // _CHUNK + (changed < len(self.lines))):
            self._chunks.pop(chunk, None)

    def _measured(self, number: int, line: str) -> int:
        """The width of a line that is new or has grown, in cells."""
        if len(line) <= _LONG:
            return cell_len(line.expandtabs(_TAB))
        long = self._long.setdefault(number, _LongLine())
        long.grow(line)
        return long.width

    def close(self) -> None:
        """No more lines come; white space at the end goes, as Textual drops it from a whole block."""
        while self.lines and not self.lines[-1].strip():
            self.lines.pop()
        if self.lines:
            self.lines[-1] = self.lines[-1].rstrip()
        self._unfinished = False
        self.closed = True

    def line(self, number: int) -> Content:
        """A line with its colours."""
        if number in self._long:
            return Content.styled("".join(self._long[number].pieces), "$text")
        if number < len(self._final):
            return self._final[number]
        chunk, place = divmod(number, _CHUNK)
        if chunk not in self._chunks:
            self._chunks[chunk] = self._highlight_chunk(chunk)
        return self._chunks[chunk][place]

    def pieces(self, number: int) -> list[str] | None:
        """The pieces of a long line, None for any other."""
        return self._long[number].pieces if number in self._long else None

    @property
    def exact(self) -> bool:
        """Whether highlighting the block as a whole would change nothing."""
        # A chunk that begins within `_CONTEXT` of the start is read from the start.
        return len(self._final) == len(self.lines) or len(self.lines) <= _CHUNK + _CONTEXT

    def finish_highlighting(self) -> Iterator[None]:
        """Highlight a closed block as a whole.

        Yields after each slice; the caller may delay the rest.
        """
        lexer = _lexer(self._language)
        if isinstance(lexer, DelegatingLexer):
            return  # it reads all of its text before it gives the first token
        self._next = []
        for line in self._highlighted(lexer, self._short(0, len(self.lines))):
            self._next.append(line)
            if len(self._next) % _SLICE == 0:
                yield
        self._final, self._next = self._next, []
        self._chunks.clear()

    def recolour(self, theme: type[HighlightTheme]) -> None:
        """Use the colours of another theme."""
        if theme is not self._theme:
            self._theme = theme
            self._chunks.clear()
            self._final.clear()

    def _highlight_chunk(self, chunk: int) -> list[Content]:
        start = chunk * _CHUNK
        before = max(0, start - _CONTEXT)
        lines = list(self._highlighted(_lexer(self._language), self._short(before, start + _CHUNK)))
        return lines[start - before :]

    def _short(self, start: int, end: int) -> list[str]:
        """These lines, with long ones empty."""
        lines = enumerate(self.lines[start:end], start)
        return ["" if number in self._long else line for number, line in lines]

    def _highlighted(self, lexer: Lexer | None, lines: list[str]) -> Iterator[Content]:
        if lexer is None:
            yield from (Content.styled(line.expandtabs(_TAB), "$text") for line in lines)
            return
        plain, spans = "", list[Span]()
        for kind, text in lexer.get_tokens("\n".join(lines) + "\n"):
            style = _style(self._theme, kind)
            for number, piece in enumerate(text.split("\n")):
                if number:
                    yield Content(plain, [Span(0, len(plain), "$text"), *spans])
                    plain, spans = "", []
                if piece and style:
                    spans.append(Span(len(plain), len(plain) + len(piece), style))
                plain += piece


class CodeFence(MarkdownFence):
    """The frame of a code block; scrolls sideways where a line is too long."""

    def __init__(self, markdown: Markdown, token: Token, code: str) -> None:
        MarkdownBlock.__init__(self, markdown, token)  # the fence's own would highlight all of the text
        self.auto_links = False
        self.code_lines = token.meta.get("code") or Code(token.info, code.split("\n"), closed=True)

    def compose(self) -> ComposeResult:
        yield CodeLines(self.code_lines)

    def notify_style_update(self) -> None:
        self.code_lines.recolour(_theme(self))
        MarkdownBlock.notify_style_update(self)

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if isinstance(block, CodeFence) and block.code_lines is self.code_lines:
            self.grown()
        else:
            await MarkdownBlock._update_from_block(self, block)

    def grown(self) -> None:
        """Lines came, or the block was closed."""
        for lines in self.query(CodeLines):
            lines.grown()


class CodeLines(Widget):
    """Draws the lines of a code block that are on the screen."""

    DEFAULT_CSS = "CodeLines { width: auto; height: auto; }"

    def __init__(self, code: Code) -> None:
        super().__init__()
        self.code = code
        self._drawn = Size(0, 0)

    def on_mount(self) -> None:
        self.code.recolour(_theme(self))
        self.grown()

    def grown(self) -> None:
        """Lines came, or the block was closed."""
        size = Size(self.code.width, len(self.code.lines))
        self.refresh(layout=size != self._drawn)
        self._drawn = size
        if self.code.closed and not self.code.exact:
            _: Worker[None] = self.run_worker(self._finish, group="highlight", exclusive=True)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return max(container.width, self.code.width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(1, len(self.code.lines))

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self.code.lines):
            return Strip.blank(width, self.visual_style.rich_style)
        selection = self.text_selection
        span = selection.get_span(y) if selection is not None else None
        if span is None and (pieces := self.code.pieces(y)) is not None:
            return self._long_strip(pieces).extend_cell_length(width).apply_offsets(0, y)
        line = self.code.line(y)
        if span is not None:
            start, end = span
            style = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            line = line.stylize(style, start, len(line) if end == -1 else end)
        strips = Visual.to_strips(self, line, width, 1, self.visual_style, apply_selection=False)
        return strips[0].apply_offsets(0, y) if strips else Strip.blank(width)

    def _long_strip(self, pieces: list[str]) -> Strip:
        """A long line as it is, since `Visual.to_strips` would read all of it for each update."""
        (sample,) = Visual.to_strips(self, Content.styled("x", "$text"), 1, 1, self.visual_style)
        style = next(iter(sample)).style
        return Strip([Segment(piece, style) for piece in pieces])

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract(self.code.text), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    async def _finish(self) -> None:
        for _ in self.code.finish_highlighting():
            await asyncio.sleep(0)  # keys and other answers come first
        self.refresh()


@lru_cache(maxsize=32)
def _lexer(language: str) -> Lexer | None:
    """None without a language: to guess one, all lexers would be loaded and tried."""
    if not language:
        return None
    try:
        lexer: Lexer = get_lexer_by_name(language, stripnl=False, ensurenl=True, tabsize=_TAB)
    except ClassNotFound:
        return None
    return lexer


def _style(theme: type[HighlightTheme], kind: _TokenType) -> str:
    """The theme's style of a token, or of the nearest kind above it."""
    found: _TokenType | None = kind
    while found is not None:
        if style := theme.STYLES.get(found):
            return style
        found = found.parent
    return ""


def _theme(widget: Widget) -> type[HighlightTheme]:
    if not widget.app.native_ansi_color:
        return HighlightTheme
    return ANSIDarkHighlightTheme if widget.app.current_theme.dark else ANSILightHighlightTheme
