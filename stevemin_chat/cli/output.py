"""How commands talk to a terminal or a pipe: tables, JSON, notes, questions, progress."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from stevemin_chat.base import Declined, UsageProblem
from stevemin_chat.text import Sanitizer, escaped, one_line, percent, sanitize

__all__ = [
    "ProgressLine",
    "confirm",
    "json_text",
    "note",
    "print_answer",
    "print_json",
    "print_lines",
    "print_table",
    "progress_line",
]


def json_text(document: Any, *, ascii_only: bool = False) -> str:
    """A JSON document without characters that could drive a terminal or reorder what is read."""
    return escaped(json.dumps(document, indent=2, ensure_ascii=ascii_only, default=str))


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json_text(document, ascii_only=not unicode))


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, shorten: Mapping[str, int] | None = None
) -> None:
    """Print columns as wide as their widest cell; in a pipe nothing is shortened.

    Args:
        shorten: headings of the columns to shorten on a terminal until each row fits on one line, and the
            proportion in which these columns share the remaining width.
    """
    from stevemin_chat.text import table_lines

    cells = [[_flat(cell) for cell in row] for row in (header, *rows)]
    shares = {header.index(name): share for name, share in (shorten or {}).items()}
    room = shutil.get_terminal_size().columns if shares and sys.stdout.isatty() else None
    for line in table_lines(cells, shares=shares, room=room):
        print(line)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines of text; a terminal gets long ones wrapped between words, with their indentation."""
    from stevemin_chat.text import wrapped

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for text in lines:
        line = _flat(text)
        indent = line[: len(line) - len(line.lstrip(" "))]
        for part in wrapped(line.lstrip(" "), width - len(indent)) if width else (line.lstrip(" "),):
            print(f"{indent}{part}".rstrip())


def _flat(text: str) -> str:
    """Sanitized and on one line; unlike in `one_line`, a pipe gets every space."""
    return sanitize(text).replace("\n", " ").replace("\t", " ")


def note(text: str) -> None:
    """Print a line for the person, on stderr."""
    print(sanitize(text), file=sys.stderr)


def confirm(question: str, *, yes: bool, details: Iterable[str] = ()) -> None:
    """Ask before something is destroyed.

    Args:
        details: shown before the question, each cut to one line of the terminal.

    Raises:
        UsageProblem: stdin is not a terminal.
        Declined: the answer is no.
    """
    from stevemin_chat.text import clip

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageProblem(f"{question} Not a terminal; pass --yes to confirm.")
    for line in details:
        print(f"  {clip(line, shutil.get_terminal_size().columns - 2)}", file=sys.stderr)
    print(f"{one_line(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined


def print_answer(text: str, cleaner: Sanitizer | None) -> None:
    """Print a piece of an answer; `cleaner` is given where stdout is a terminal."""
    sys.stdout.write(cleaner.feed(text) if cleaner else text)
    sys.stdout.flush()


@contextmanager
def progress_line(label: str) -> Iterator[ProgressLine]:
    """A line on stderr that shows progress, cleared at the end; silent where stderr is not a terminal."""
    line = ProgressLine(label, shown=sys.stderr.isatty())
    try:
        yield line
    finally:
        line.clear()


class ProgressLine:
    """Rewrites one line of the terminal."""

    def __init__(self, label: str, *, shown: bool) -> None:
        self._label = one_line(label)
        self._shown = shown
        self._last = ""

    def show(self, state: str) -> None:
        """Show `state` after the label."""
        if not self._shown:
            return
        from stevemin_chat.text import shortened

        # One row is all that is cleared.
        text = shortened(f"{self._label}  {_flat(state)}", shutil.get_terminal_size().columns - 1)
        if text != self._last:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._last = text

    def fraction(self, done: float) -> None:
        """Show a share of 1 in percent."""
        self.show(percent(done))

    def clear(self) -> None:
        """Clear the line, if there is one."""
        if self._last:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._last = ""
