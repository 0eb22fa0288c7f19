"""Text in columns of a terminal, where some characters take two cells and some none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from rich.cells import cell_len, set_cell_size

__all__ = ["shortened", "table_lines"]

_GAP = "  "
_NARROWEST = 8


def table_lines(
    rows: Sequence[Sequence[str]],
    *,
    shares: Mapping[int, int] = MappingProxyType({}),
    room: int | None = None,
) -> Iterator[str]:
    """The rows as lines, each column as wide as it needs to be.

    Args:
        shares: columns whose cells may be shortened, by number, and in which proportion they share what
            the others leave.
        room: width that the lines should fit, as far as these columns allow; None shortens nothing.
    """
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    if room is not None:
        widths = _narrowed(widths, shares, room)
    for row in rows:
        cells = (
            set_cell_size(shortened(cell, width), width) for cell, width in zip(row, widths, strict=True)
        )
        yield _GAP.join(cells).rstrip()


def shortened(text: str, width: int) -> str:
    """The text, or as much of its beginning as fits."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _narrowed(widths: Sequence[int], shares: Mapping[int, int], room: int) -> list[int]:
    narrowed = list(widths)
    room -= len(_GAP) * (len(widths) - 1)
    room -= sum(width for column, width in enumerate(widths) if column not in shares)
    sharing = sum(shares.values())
    # The least demanding first: what one does not need, the others get.
    for column in sorted(shares, key=lambda column: widths[column] / shares[column]):
        share = room * shares[column] // sharing
        narrowed[column] = min(widths[column], max(share, _NARROWEST))
        room -= narrowed[column]
        sharing -= shares[column]
    return narrowed
