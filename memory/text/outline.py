"""Splits documents into passages by their headings, functions and pages, each with its place in the file."""

from __future__ import annotations

import ast
import re
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from itertools import accumulate

from memory.text.chunks import PASSAGE_TOKENS, split_spans, tokens_in

__all__ = ["Piece", "pieces_of_pages", "split_document"]

_HEADINGS = 160  # characters of the headings that are repeated before a passage
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_FED, _UNFINISHED = 65_536, 4_096  # characters of HTML
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage of a document.

    Args:
        text: begins with the headings above it, as "# A > B".
        first_line, last_line: where it stands, counted from 1; the page of a PDF.
        continues: it goes on with what the piece before it is about.
    """

    text: str
    first_line: int
    last_line: int
    continues: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    first: int
    last: int


@dataclass(slots=True)
class _Section:
    """Lines under one heading.

    Args:
        at: the line of the heading; 0 without one.
    """

    headings: tuple[str, ...] = ()
    at: int = 0
    lines: list[_Line] = field(default_factory=list)

    @property
    def blank(self) -> bool:
        return not any(line.text.strip() for line in self.lines)


def split_document(text: str, ending: str) -> list[Piece]:
    """Cut the text of a file into passages.

    Args:
        ending: of the file's name, with its dot, which tells what it holds.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    sections = _READERS.get(ending.lower(), _plain)(text)
    return [piece for section in sections for piece in _pieces(section)]


def pieces_of_pages(pages: Iterable[str]) -> Iterator[Piece]:
    """Cut the pages of a PDF into passages, none of which crosses a page."""
    for number, text in enumerate(pages, start=1):
        for passage, _, _ in split_spans(text):
            yield Piece(passage, number, number, continues=number > 1)  # text flows from page to page


def _pieces(section: _Section) -> Iterator[Piece]:
    heading = _heading(section.headings)
    if section.blank:
        if heading:
            yield Piece(heading, section.at, section.at)
        return
    lines = section.lines
    # Where each line begins in the joined text.
    starts = [0, *accumulate(len(line.text) + 1 for line in lines[:-1])]
    for number, (text, first, end) in enumerate(split_spans("\n".join(line.text for line in lines))):
        begin = lines[bisect_right(starts, first) - 1].first
        stop = lines[bisect_right(starts, end - 1) - 1].last
        if number == 0 and section.at:
            begin = min(begin, section.at)
        yield Piece(f"{heading}\n\n{text}" if heading else text, begin, stop, continues=number > 0)


def _heading(headings: Sequence[str]) -> str:
    path = " > ".join(" ".join(part.split()) for part in headings if part.strip())
    return f"# {path[-_HEADINGS:]}" if path else ""


def _plain(text: str) -> list[_Section]:
    return [_Section(lines=_numbered(text))]


def _numbered(text: str) -> list[_Line]:
    return [_Line(line, number, number) for number, line in enumerate(text.split("\n"), start=1)]


class _Outline:
    """Sections in the making: headings of one level end those of the same and of deeper levels."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []
        self.sections = [_Section()]

    def begin(self, level: int, title: str, at: int) -> None:
        """A heading. A section that holds nothing but deeper ones is left to their headings."""
        if self.sections[-1].blank and (not self._open or self._open[-1][0] < level):
            self.sections.pop()
        self._open = [*((depth, name) for depth, name in self._open if depth < level), (level, title)]
        self.sections.append(_Section(tuple(name for _, name in self._open), at))

    def add(self, line: _Line) -> None:
        """A line under the last heading."""
        self.sections[-1].lines.append(line)


def _markdown(text: str) -> list[_Section]:
    outline, fence = _Outline(), ""
    lines = _numbered(text)
    start = _front_matter(lines)
    for line in lines[:start]:
        outline.add(line)
    for line in lines[start:]:
        mark = _FENCE.match(line.text)
        if fence:
            if mark and mark.group(1).startswith(fence) and not line.text[mark.end() :].strip():
                fence = ""
        elif mark:
            fence = mark.group(1)
        elif heading := _ATX.match(line.text):
            outline.begin(len(heading.group(1)), heading.group(2) or "", line.first)
            continue
        elif (under := _UNDERLINE.match(line.text)) and (title := _underlined(outline.sections[-1].lines)):
            outline.sections[-1].lines.pop()
            outline.begin(1 if under.group(1)[0] == "=" else 2, title.text.strip(), title.first)
            continue
        outline.add(line)
    return outline.sections


def _front_matter(lines: Sequence[_Line]) -> int:
    """How many lines the settings before a Markdown text take."""
    if lines[0].text.rstrip() != "---":
        return 0
    return next((place + 1 for place, line in enumerate(lines) if place and line.text.rstrip() == "---"), 0)


def _underlined(lines: Sequence[_Line]) -> _Line | None:
    """The line above an underline, if it is a paragraph of its own."""
    if not lines or not lines[-1].text.strip() or lines[-1].text.lstrip()[0] in "|>-*+`":
        return None
    return lines[-1] if len(lines) < 2 or not lines[-2].text.strip() else None


def _html(text: str) -> list[_Section]:
    reader = _HtmlReader()
    for start in range(0, len(text), _FED):
        reader.feed(text[start : start + _FED])
    # At the end the parser looks for the end of each unfinished tag in all that is left: quadratic time.
    if len(reader.rawdata) > _UNFINISHED:
        reader.handle_data(unescape(reader.rawdata))
    else:
        reader.close()
    reader.end_block()
    return reader.outline.sections


_INLINE_TAGS = (
    "a abbr b bdi bdo cite code data del dfn em font i img ins kbd label mark q s samp small span strike"
    " strong sub sup time tt u var wbr"
)


class _HtmlReader(HTMLParser):
    """Collects the visible text, a paragraph as one line."""

    _SILENT = frozenset({"script", "style", "template", "noscript", "svg", "title"})
    _INLINE = frozenset(_INLINE_TAGS.split())

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.outline = _Outline()
        self._texts: list[str] = []
        self._first = self._last = 0
        self._silent: list[str] = []
        self._level = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._SILENT:
            self._silent.append(tag)
        elif tag not in self._INLINE:
            self.end_block()
            self._level = int(tag[1]) if re.fullmatch(r"h[1-6]", tag) else self._level

    def handle_endtag(self, tag: str) -> None:
        if self._silent:
            if tag == self._silent[-1]:
                self._silent.pop()
        elif tag not in self._INLINE:
            self.end_block()
            self._level = 0 if re.fullmatch(r"h[1-6]", tag) else self._level

    def handle_data(self, data: str) -> None:
        if self._silent or not data.strip():
            if self._texts:
                self._texts.append(" ")
            return
        line = self.getpos()[0]
        if not self._texts:
            self._first = line + len(data[: len(data) - len(data.lstrip())].split("\n")) - 1
        self._last = line + data.rstrip().count("\n")
        self._texts.append(data)

    def end_block(self) -> None:
        """A paragraph or a heading is over."""
        text = " ".join("".join(self._texts).split())
        self._texts.clear()
        if text and self._level:
            self.outline.begin(self._level, text, self._first)
        elif text:
            self.outline.add(_Line(text, self._first, self._last))


def _python(text: str) -> list[_Section]:
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes in the strings of others
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _plain(text)
    return _definitions(tree.body, _numbered(text), (), 0, None)


_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _definitions(
    body: Sequence[ast.stmt], lines: Sequence[_Line], above: tuple[str, ...], start: int, end: int | None
) -> list[_Section]:
    """A section for each function and class among statements, and for what stands between them.

    Args:
        start, end: the lines that the statements take, counted from 0.
    """
    end = len(lines) if end is None else end
    sections, done = [], start
    for item in body:
        if not isinstance(item, _Definition):
            continue
        first = min([item.lineno, *(mark.lineno for mark in item.decorator_list)]) - 1
        while first > done and lines[first - 1].text.lstrip().startswith("#"):
            first -= 1  # the comment right above it
        last = item.end_lineno or item.lineno
        sections.append(_of_code(lines[done:first], above))
        names = (*above, item.name)
        whole = lines[first:last]
        if isinstance(item, ast.ClassDef) and tokens_in("\n".join(x.text for x in whole)) > PASSAGE_TOKENS:
            sections += _definitions(item.body, lines, names, first, last)
        else:
            sections.append(_of_code(whole, names))
        done = max(done, last)
    sections.append(_of_code(lines[done:end], above))
    return [section for section in sections if not section.blank]


def _of_code(lines: Sequence[_Line], names: tuple[str, ...]) -> _Section:
    return _Section(names, 0, list(lines))


_READERS: Mapping[str, Callable[[str], list[_Section]]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".mdx": _markdown,
    ".html": _html,
    ".htm": _html,
    ".xhtml": _html,
    ".py": _python,
    ".pyi": _python,
}
