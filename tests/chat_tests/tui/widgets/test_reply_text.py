"""The Markdown of a growing reply: it looks as if it had come at once, and an update costs what is new."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from markdown_it import MarkdownIt
from pygments.lexer import Lexer
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.pilot import Pilot
from textual.visual import Visual
from textual.widget import Widget
from textual.widgets import Markdown, Static
from textual.widgets._markdown import MarkdownBlock, MarkdownBullet, MarkdownParagraph

from stevemin_chat.tui.widgets import code_block
from stevemin_chat.tui.widgets.code_block import Code, CodeLines, _lexer
from stevemin_chat.tui.widgets.reply_source import reply_parser
from stevemin_chat.tui.widgets.reply_text import ReplyText

DOCUMENTS = {
    "fence": "Here:\n\n```python\ndef f():\n    return 1\n\n\n# end\n```\nAnd after it.\n",
    "open fence": "Text\n```js\nlet a = 1;\n  let b = `x`\n``\n",
    "tildes": "~~~\n```\nnot the end\n```\n~~~\n\nEnd *here*.",
    "four ticks": "````md\n```python\nx\n```\n````\nafter",
    "fence in an item": "1. First:\n\n   ```sh\n   ls\n     -l\n\n   pwd\n   ```\n\n   More.\n2. Second\n",
    "fence on the item's line": "- ```py\n  x = 1\n  ```\n- next\n",
    "fence left by its item": "- a\n  ```py\n  x = 1\n\nParagraph.\n\n- b\n",
    "fence two lists deep": "- a\n  - b\n\n    ```c\n    int x;\n\n      y;\n    ```\n  - c\n- d\n",
    "fence in a quote": "> Look:\n> ```py\n> x = 1\n> ```\n> yes\n\nEnd",
    "fence closed in a quote": "> ```python\n> a = [\n>\n>   1]\n> ```\n> More\n> of it\n\nEnd\n",
    "fence ended by an unquoted line": "> ```py\n> x = 1\n>\n> y = 2\nNot quoted\n> Quoted\n",
    "fence ended by an unquoted fence": "> ```\n> a\n> b\n```\nc\n```\n",
    "fence ended by a blank line": "> ~~~\n> a\n>\n\n> ~~~\n> b",
    "unquoted fence at the end": "> ```\n> a\n> b\n```",
    "fence in nested quotes": "> a\n> > ```\n> > > b\n> >c\n>>\n> > d\n> e\n> > f\n",
    "fence in narrow quotes": ">```sh\n>ls\n>  -l\n   > pwd\n>\n>```\n>a\n",
    "fence after a tab in a quote": ">\t```make\n>\tall:\n>\t\techo\n> b\n>\t```\n> After\n",
    "fence in a quote in an item": "- a\n\n  > ```c\n  > b;\n  >\n  >   c;\n> d\n- e\n  > ```\n  > f\n- g\n",
    "fence in an item in a quote": "> - ```c\n>   int x;\n>\n>   y;\n>\n>   ```\n>   a\n> - b\n\nc\n",
    "two fences in a quote": "> ```\n> a\n> ```\n> b\n> ~~~\n> c\n> ```\n> ~~~\n> d\n",
    "lazy lines before a fence": "> a\nb\n> ```\n> c\nd\n",
    "blank lines first": "> ```\n>\n>\n> a\n>\n\n~~~\n\n\nb\n",
    "white space at the end": "```\na\n\nb \t\n  \n```\nc\n",
    "half a closing fence": "```\na\n``",
    "two fences": "```\na\n```\n```\nb\n```\n- x\n  ```\n  c\n  ```\n  ```\n  d\n  ```\n",
    "tabs": "-\tone\n\n\t```\n\tcode\n\t```\n-\ttwo\n\n```make\nall:\n\techo\n```\n",
    "tabs in an indented fence": "  ```\n\tcode\n a\n  ```\n- x\n  ```\n\tb\n\t```\n\ty\n",
    "long list": "\n".join(f"{n}. item *{n}*" for n in range(1, 14)) + "\n\nEnd.\n",
    "loose list": "- a\n\n  a, too\n\n- b\n- c\n\n\n- d **e\n  f** g\n",
    "rule after a list": "- a\n- b\n---\n- c\n***\n1. d\n",
    "another bullet": "- a\n- b\n* c\n* d\n+ e\n",
    "bold after an item": "- a\n- b\n**bold** text\n",
    "numbers": "3. three\n4. four\n1. five\n\ntext\n\n1. one\n",
    "headings": "# A\nText\n## B\n\nTitle\n=====\nPara\n***\n#### D\n",
    "lines": "Roses are red,\nviolets are blue,\n  *sugar is\nsweet*\n\nand `so`  \nare you\n",
    "table": "| a | b |\n|---|---|\n| 1 | *2* |\n| 3 | 4 |\n\nEnd\n",
    "quotes": "> a\n> b\n\n> c\n>\n> - d\n> - e\n",
    "indented code": "Text\n\n    code\n    more\n\nText\n",
    "indented blank lines": "Text\n\n    a\n\n      b\n  \n\n    c\n\n\n\nText\n\n\td\n\te\n",
    "indented code before a paragraph": "    a\n    b\nc\n    lazy\n\n    d\n    e\n# f\n    g\n    h\n- i\n",
    "indented code at the end": "a\n\n    b\n    c  \n  \n",
    "indented after tabs": "a\n\n\tb\n \t\tc\n    \td\n   \te\n   f\n",
    "indented fence": "a\n\n    ```\n    b\n    ```\n\n   ```\n    c\n    ```\n   ```\n",
    "indented in a quote": ">     a\n>\n>     b\nlazy\n\n>\tc\n>\n>\t\td\n>     e\n\n    f\n    g\n> h\n",
    "indented in nested quotes": "> >     a\n> >     b\n> >\n>     c\n>     d\n",
    "indented in an item": "- a\n\n      b\n\n       c\n\n  d\n\n      e\n      f\n- g\n",
    "indented after the bullet": "-     a\n\n      b\n      c\n  d\n1.     e\n       f\n\ng\n",
    "indented in an item in a quote": "> - a\n>\n>       b\n>       c\n>\n>       d\n>   e\n>\n>      f\n",
    "nested": "- a\n  1. b\n  2. c\n     - d\n\n     e\n- f\n",
    "empty": "",
    "blank": "\n\n  \n",
    "markup": "[a](http://x.y) http://a.bc <b>not</b> [red]x[/red]\n",
}


KINDS = {
    "CodeFence": "MarkdownFence",
    "MarkdownTableCellContents": "Static",
    "MarkdownBulletList": "MarkdownList",
    "MarkdownOrderedList": "MarkdownList",
}


EXPECTED: dict[str, list[str]] = {}  # how Textual's own Markdown shows the documents


class Host(App[None]):
    """Shows one text after another."""

    CSS = "MarkdownFence > Label { padding: 0; }"

    def compose(self) -> ComposeResult:
        yield VerticalScroll()

    async def show(self, text: Markdown) -> None:
        view = self.query_one(VerticalScroll)
        await view.remove_children()
        await view.mount(text)


@asynccontextmanager
async def showing(text: Markdown) -> AsyncIterator[Pilot[None]]:
    app = Host()
    async with app.run_test(size=(80, 40)) as pilot:
        await app.show(text)
        yield pilot


def outline(widget: Widget) -> Iterator[str]:
    """What the blocks of a text are and say."""
    for child in widget.children:
        kind = next(base.__name__ for base in type(child).__mro__ if base.__name__[0] != "_")
        kind = KINDS.get(kind, kind)
        said = ""
        if isinstance(child, CodeLines):
            kind, said = "code", child.code.text
        elif child.id == "code-content":
            kind, said = "code", str(child.render())
        elif isinstance(child, MarkdownBullet):
            said = child.symbol
        elif isinstance(child, Static) and not child.children:
            said = str(child.visual)
        height = child.outer_size.height if isinstance(child, MarkdownBlock | MarkdownBullet) else ""
        yield f"{kind} {said!r} {height}"
        yield from (f"  {line}" for line in outline(child))


def pieces(source: str, how: str) -> Iterator[str]:
    if how == "pairs of characters":
        yield from (source[at : at + 2] for at in range(0, len(source), 2))
    elif how == "lines":
        yield from source.splitlines(keepends=True)
    elif how == "at once":
        yield source
    else:
        dice = random.Random(how)
        while source:
            size = dice.randint(1, 12)
            yield source[:size]
            source = source[size:]


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("pairs of characters", marks=pytest.mark.campaign),  # as long as the others together
        pytest.param("lines", marks=pytest.mark.campaign),
        pytest.param("at once", marks=pytest.mark.campaign),
        "random pieces",
    ],
)
async def test_grown_text_looks_as_if_it_had_come_at_once(how: str) -> None:
    app = Host()
    async with app.run_test(size=(80, 40)) as pilot:
        for name, source in DOCUMENTS.items():
            if name not in EXPECTED:
                control = Markdown(parser_factory=reply_parser)
                await app.show(control)
                await control.append(source)
                await pilot.pause()
                EXPECTED[name] = list(outline(control))
            text = ReplyText(classes="text")
            await app.show(text)
            for piece in pieces(source, how):
                await text.write(piece)
            await text.finish()
            await pilot.pause()
            assert list(outline(text)) == EXPECTED[name], name


@pytest.mark.parametrize("how", ["pairs of characters", "lines", "at once"])
async def test_a_rule_in_a_list_or_quote_stays_where_it_is(how: str) -> None:
    text = ReplyText(classes="text")
    async with showing(text) as pilot:
        for piece in pieces("- a\n\n  ---\n- b\n\n> c\n>\n> ---\n>\n> d\n\ne\nf\n", how):
            await text.write(piece)
        await pilot.pause()
        shown = [line.split()[:2] for line in outline(text) if "Paragraph" in line or "Rule" in line]
        a, b, c, d, *_ = (["MarkdownParagraph", f"'{letter}'"] for letter in "abcd")
        rule = ["MarkdownHorizontalRule", "''"]
        assert shown == [a, rule, b, c, rule, d, ["MarkdownParagraph", "'e\\nf'"]]


async def test_lines_of_a_long_paragraph_stay_one_paragraph_to_the_eye() -> None:
    verses = [f"line {number} with *some* and `more`" for number in range(200)]
    text = ReplyText(classes="text")
    async with showing(text) as pilot:
        for verse in verses:
            await text.write(verse + "\n")
        await pilot.pause()
        said = "\n".join(str(block.visual) for block in text.query(MarkdownParagraph))
        assert said == "\n".join(verses).replace("*", "").replace("`", "")
        heights = [block.outer_size.height for block in text.children]
        assert sum(heights) == len(verses)


class Work:
    """Counts what an update costs: characters parsed, lines highlighted, lines drawn, blocks made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parsed = self.highlighted = self.drawn = self.mounted = 0
        parse, tokens, draw, mount = (
            MarkdownIt.parse,
            Lexer.get_tokens,
            CodeLines.render_line,
            MarkdownBlock.__init__,
        )

        def counted_parse(parser: MarkdownIt, source: str, *args: Any) -> Any:
            self.parsed += len(source)
            return parse(parser, source, *args)

        def counted_tokens(lexer: Lexer, code: str, *args: Any) -> Any:
            self.highlighted += code.count("\n")
            return tokens(lexer, code, *args)

        def counted_draw(lines: CodeLines, y: int) -> Any:
            self.drawn += 1
            return draw(lines, y)

        def counted_block(block: MarkdownBlock, *args: Any, **more: Any) -> None:
            self.mounted += 1
            mount(block, *args, **more)

        monkeypatch.setattr(MarkdownIt, "parse", counted_parse)
        monkeypatch.setattr(Lexer, "get_tokens", counted_tokens)
        monkeypatch.setattr(CodeLines, "render_line", counted_draw)
        monkeypatch.setattr(MarkdownBlock, "__init__", counted_block)

    def take(self) -> tuple[int, int, int, int]:
        """What was counted since the last time."""
        counted = (self.parsed, self.highlighted, self.drawn, self.mounted)
        self.parsed = self.highlighted = self.drawn = self.mounted = 0
        return counted


def code(number: int) -> str:
    return f"    value_{number:05} = compute({number:05}, 'text')  # comment\n"


GROWING = {
    "code": ("Look:\n\n```python\n", code),
    "code in an item": ("1. Do this:\n\n   ```python\n", lambda number: "   " + code(number)),
    "code in a quote": ("> Look:\n>\n> ```python\n", lambda number: "> " + code(number)),
    "code in a quote in an item": ("- Look:\n\n  > ```python\n", lambda number: "  > " + code(number)),
    "code in an item in a quote": ("> - Look:\n>\n>   ```python\n", lambda number: ">   " + code(number)),
    "code after tabs": ("-\tLook:\n\n\t```python\n", lambda number: "\t" + code(number)),
    "indented code": ("Look:\n\n", code),
    "indented code in a quote": ("> Look:\n>\n", lambda number: ">\t" + code(number)),
    "indented code in an item": ("- Look:\n\n", lambda number: "  " + code(number)),
    "items": ("", lambda number: f"- item {number:05} with **bold** text\n"),
    "lines": ("", lambda number: f"line {number:05} with **bold** text\n"),
}


async def cost(text: Markdown, work: Work, kind: str, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """What three updates cost at each of these sizes."""
    head, line = GROWING[kind]
    write = text.write if isinstance(text, ReplyText) else text.append
    costs: list[tuple[int, ...]] = []
    async with showing(text) as pilot:
        pilot.app.query_one(VerticalScroll).anchor()
        await write(head)
        lines = 0
        for size in sizes:
            await write("".join(line(number) for number in range(lines, size)))
            await pilot.pause()
            work.take()
            for number in range(size, size + 3):
                await write(line(number))
                await pilot.pause()
            lines = size + 3
            costs.append(work.take())
    return costs


# Lines are highlighted 32 at a time: each of these sizes is at the same place of such a chunk.
SIZES = {"code": (96, 800, 3008), "items": (40, 120), "lines": (100, 400)}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.campaign] if kind.count(" in ") else []) for kind in GROWING],
)
async def test_an_update_costs_the_same_however_long_the_text_is(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    first, *later = await cost(ReplyText(classes="text"), Work(monkeypatch), kind, SIZES.get(kind, (96, 800)))
    for found in later:
        assert all(now <= 2 * max(before, 3) for now, before in zip(found, first, strict=True)), found


async def test_the_count_of_work_sees_what_textual_does(monkeypatch: pytest.MonkeyPatch) -> None:
    control = Markdown(parser_factory=reply_parser)
    small, large = await cost(control, Work(monkeypatch), "code", (96, 384))
    assert large[0] > 3 * small[0]  # characters parsed
    assert large[1] > 3 * small[1]  # lines highlighted


async def test_a_long_block_from_the_history_is_highlighted_in_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = Work(monkeypatch)
    text = ReplyText(classes="text")
    slices: list[int] = []
    finish = Code.finish_highlighting

    def counted(block: Code) -> Iterator[None]:
        before = 0
        for _ in finish(block):
            slices.append(len(block._next) - before)
            before = len(block._next)
            yield

    monkeypatch.setattr(Code, "finish_highlighting", counted)
    async with showing(text) as pilot:
        await text.write("```python\n" + "".join(map(code, range(800))) + "```\nThat is all.")
        await text.finish()
        view = text.query_one(CodeLines)
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert work.drawn < 800
        assert len(slices) == 800 // 64
        assert all(size == 64 for size in slices)
        assert view.code.exact


async def test_colours_of_a_closed_block_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    source = 'x = """\n' + "if not a: return 1\n" * 200 + '"""\ny = 2\n'
    expected = list(Code("text\n".strip(), source.split("\n"), closed=True).lines)
    block = Code("python", expected[:-1])
    guessed = block.line(150).spans
    block.close()
    for _ in block.finish_highlighting():
        pass
    whole = Code("python", block.lines, closed=True)._highlighted(_lexer("python"), block.lines)
    assert [block.line(number).spans for number in range(len(block.lines))] == [line.spans for line in whole]
    assert guessed != block.line(150).spans  # else this test would show nothing


async def test_code_can_be_selected() -> None:
    text = ReplyText(classes="text")
    async with showing(text) as pilot:
        await text.write("```python\nfirst = 1\n\nsecond = 2\n```\n")
        await text.finish()
        await pilot.pause()
        lines = text.query_one(CodeLines)
        await pilot.mouse_down(lines, offset=(2, 0))
        await pilot.hover(lines, offset=(8, 2))
        await pilot.mouse_up(lines, offset=(8, 2))
        assert pilot.app.screen.get_selected_text() == "rst = 1\n\nsecond = "


async def test_an_update_of_a_long_line_reads_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def count(owner: Any, name: str, length: Callable[..., int]) -> None:
        function = getattr(owner, name)

        def counted(*args: Any, **more: Any) -> Any:
            nonlocal read
            read += length(*args)
            return function(*args, **more)

        monkeypatch.setattr(owner, name, counted)

    count(Lexer, "get_tokens", lambda _, text, *rest: len(text))
    count(code_block, "cell_len", len)
    count(Visual, "to_strips", lambda _, line, *rest: len(line) if isinstance(line, Content) else 0)
    piece = '{"key": [1, 2, "three"]}, '
    text = ReplyText(classes="text")
    async with showing(text) as pilot:
        pilot.app.query_one(VerticalScroll).anchor()
        await text.write("```json\n[\n")
        costs: list[int] = []
        for size in (100, 800):
            await text.write(piece * size)
            await pilot.pause()
            read = 0
            for _ in range(3):
                await text.write(piece)
                await pilot.pause()
            costs.append(read)
        small, large = costs
        assert 3 * len(piece) <= small
        assert large <= 1.5 * small


def test_a_long_line_is_measured_and_kept_as_if_it_had_come_at_once() -> None:
    dice = random.Random(1)
    line = "".join(dice.choice("ab\t中 ") for _ in range(5000))
    grown = Code("json")
    size = 0
    while size < len(line):
        size = min(len(line), size + dice.randint(1, 300))
        grown.extend([], line[:size])
    grown.extend([line, '{"x": 1}'])
    once = Code("json", [line, '{"x": 1}'])
    assert grown.lines == once.lines == [line, '{"x": 1}']
    pieces = grown.pieces(0)
    assert pieces is not None
    assert once.line(0).plain == grown.line(0).plain == "".join(pieces)
    assert grown.width == once.width == cell_len("".join(pieces)) > 5000
    assert grown.line(1).spans == Code("json", ["", '{"x": 1}']).line(1).spans


async def test_a_long_line_is_drawn_and_can_be_selected() -> None:
    line = "0123456789" * 300
    text = ReplyText(classes="text")
    async with showing(text) as pilot:
        await text.write(f"```json\n{line}\n```\n")
        await text.finish()
        await pilot.pause()
        shown = text.query_one(CodeLines)
        assert shown.render_line(0).text.rstrip() == line
        await pilot.mouse_down(shown, offset=(2, 0))
        await pilot.hover(shown, offset=(8, 0))
        await pilot.mouse_up(shown, offset=(8, 0))
        assert pilot.app.screen.get_selected_text() == line[2:9]
        assert shown.render_line(0).text.rstrip() == line
