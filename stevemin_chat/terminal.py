"""What commands share when they talk to a terminal or a pipe."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stevemin_chat.errors import Declined, UsageProblem
from stevemin_chat.sanitize import Sanitizer, sanitize

__all__ = ["ProgressLine", "confirm", "note", "print_answer", "print_json", "print_table", "progress_line"]


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(document, indent=2, ensure_ascii=not unicode, default=str))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be; nothing is cut, so that a pipe gets whole values."""
    cells = [[sanitize(cell).replace("\n", " ") for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def note(text: str) -> None:
    """A line for the person, on stderr."""
    print(sanitize(text), file=sys.stderr)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed.

    Raises:
        UsageProblem: there is nobody to ask.
        Declined: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageProblem(f"{question} Nobody can be asked here: add --yes to do it.")
    print(f"{sanitize(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined


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
