"""What commands share when they talk to a terminal or a pipe."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from stevemin_chat.base import Declined, UsageProblem
from stevemin_chat.text import Sanitizer, sanitize

__all__ = [
    "ProgressLine",
    "confirm",
    "note",
    "print_answer",
    "print_json",
    "print_lines",
    "print_table",
    "progress_line",
]


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(document, indent=2, ensure_ascii=not unicode, default=str))


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, shorten: Mapping[str, int] | None = None
) -> None:
    """Columns as wide as they need to be; in a pipe nothing is cut, so that it gets whole values.

    Args:
        shorten: headings of the columns that give way on a terminal, so that each row is one line of it,
            and in which proportion they share what the others leave.
    """
    from stevemin_chat.text import table_lines

    cells = [[sanitize(cell).replace("\n", " ") for cell in row] for row in (header, *rows)]
    shares = {header.index(name): share for name, share in (shorten or {}).items()}
    room = shutil.get_terminal_size().columns if shares and sys.stdout.isatty() else None
    for line in table_lines(cells, shares=shares, room=room):
        print(line)


def print_lines(lines: Iterable[str]) -> None:
    """Lines of text; on a terminal, long ones are wrapped between words, as far in as they begin."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for text in lines:
        line = sanitize(text).replace("\n", " ")
        indent = line[: len(line) - len(line.lstrip())]
        wrapped = textwrap.wrap(line, width, subsequent_indent=indent) if width and line else [line]
        print("\n".join(wrapped))


def note(text: str) -> None:
    """A line for the person, on stderr."""
    print(sanitize(text), file=sys.stderr)


def confirm(question: str, *, yes: bool, details: Iterable[str] = ()) -> None:
    """Ask before something is destroyed.

    Args:
        details: what to show before the question, each cut to one line of the terminal.

    Raises:
        UsageProblem: there is nobody to ask.
        Declined: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageProblem(f"{question} Nobody can be asked here: add --yes to do it.")
    _note_lines(details)
    print(f"{sanitize(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined


def _note_lines(lines: Iterable[str]) -> None:
    from stevemin_chat.text import shortened

    for line in lines:
        note(shortened(sanitize(line).replace("\n", " "), shutil.get_terminal_size().columns))


def print_answer(text: str, cleaner: Sanitizer | None) -> None:
    """A piece of an answer, at once; `cleaner` is given when it goes to a terminal."""
    sys.stdout.write(cleaner.feed(text) if cleaner else text)
    sys.stdout.flush()


@contextmanager
def progress_line(label: str) -> Iterator[ProgressLine]:
    """A line on stderr that shows how far something is; silent when stderr is no terminal."""
    line = ProgressLine(label, shown=sys.stderr.isatty())
    try:
        yield line
    finally:
        line.clear()


class ProgressLine:
    """Rewrites one line of the terminal."""

    def __init__(self, label: str, *, shown: bool) -> None:
        self._label = sanitize(label)
        self._shown = shown
        self._last = ""

    def show(self, state: str) -> None:
        """Put `state` behind the label."""
        text = f"{self._label}  {state}"[: shutil.get_terminal_size().columns - 1]  # one row is all it clears
        if self._shown and text != self._last:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._last = text

    def fraction(self, done: float) -> None:
        """Show a share of 1 in percent."""
        self.show(f"{done:.0%}")

    def clear(self) -> None:
        if self._last:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._last = ""
