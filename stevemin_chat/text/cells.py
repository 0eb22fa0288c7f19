"""Widths in terminal cells: a CJK character or an emoji takes two, a combining mark none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from rich.cells import cell_len, chop_cells, set_cell_size

from stevemin_chat.text.sanitize import one_line

__all__ = ["cell_len", "clip", "set_cell_size", "shortened", "table_lines", "wrapped"]

_GAP = "  "
_NARROWEST = 8


def shortened(text: str, width: int) -> str:
    """The text, or as much of its start as fits in `width` cells, with an ellipsis."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""


def clip(text: str, width: int) -> str:
    """The start of an untrusted text, on one line of at most `width` cells."""
    return shortened(one_line(text), width)


def wrapped(text: str, width: int) -> Iterator[str]:
    """One line as lines of at most `width` cells, broken between words where that is possible."""
    width = max(2, width)  # the widest character
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if cell_len(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        *full, line = chop_cells(word, width) or [""]
        yield from full
    yield line


def table_lines(
    rows: Sequence[Sequence[str]],
    *,
    shares: Mapping[int, int] = MappingProxyType({}),
    room: int | None = None,
) -> Iterator[str]:
    """The rows as lines, each column as wide as its widest cell.

    Args:
        shares: the columns that may be shortened, each with its share of the remaining width.
        room: cells per line, exceeded if those columns cannot shrink enough; None shortens nothing.
    """
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    if room is not None:
        widths = _narrowed(widths, shares, room)
    for row in rows:
        cells = (
            set_cell_size(shortened(cell, width), width) for cell, width in zip(row, widths, strict=True)
        )
        yield _GAP.join(cells).rstrip()


def _narrowed(widths: Sequence[int], shares: Mapping[int, int], room: int) -> list[int]:
    narrowed = list(widths)
    room -= len(_GAP) * (len(widths) - 1)
    room -= sum(width for column, width in enumerate(widths) if column not in shares)
    sharing = sum(shares.values())
    # The least demanding column first: what it does not need goes to the others.
    for column in sorted(shares, key=lambda column: widths[column] / shares[column]):
        share = room * shares[column] // sharing
        narrowed[column] = min(widths[column], max(share, _NARROWEST))
        room -= narrowed[column]
        sharing -= shares[column]
    return narrowed
