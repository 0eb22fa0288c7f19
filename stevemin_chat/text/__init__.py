"""Plain text for a person: untrusted text made safe for a terminal, numbers and times in one format each,
and widths counted in terminal cells. Knows no other part of stevemin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.doors import lazy
from stevemin_chat.text.format import (
    age,
    and_more,
    count,
    day,
    duration,
    listing,
    minute,
    model_label,
    percent,
    rate,
    size,
    speaker,
)
from stevemin_chat.text.sanitize import Sanitizer, escaped, one_line, sanitize
from stevemin_chat.text.typed import Span, Typed, edited, joined, mapped, part, quoted_in

if TYPE_CHECKING:
    from stevemin_chat.text.cells import cell_len, clip, set_cell_size, shortened, table_lines, wrapped
else:  # cells load rich, which `stevemin --help` does without
    __getattr__ = lazy(__name__, {"cells": "cell_len clip set_cell_size shortened table_lines wrapped"})

__all__ = [
    "Sanitizer",
    "Span",
    "Typed",
    "age",
    "and_more",
    "cell_len",
    "clip",
    "count",
    "day",
    "duration",
    "edited",
    "escaped",
    "joined",
    "listing",
    "mapped",
    "minute",
    "model_label",
    "one_line",
    "part",
    "percent",
    "quoted_in",
    "rate",
    "sanitize",
    "set_cell_size",
    "shortened",
    "size",
    "speaker",
    "table_lines",
    "wrapped",
]
