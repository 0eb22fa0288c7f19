"""Alt with another key, in terminals without the kitty protocol.

They send ESC and the key. Textual reads ESC CR as Enter, and ESC c with more keys behind it as text. It has
no public way to add key sequences, so this adds them to its table; the tests on a real terminal notice if an
update of Textual changes how that table is used.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any, cast

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS

__all__ = ["teach_alt_keys"]

_LONGER = "NOPX"  # ESC with one of these starts a longer sequence


@dataclass(frozen=True, slots=True)
class _Key:
    """Stands in for a member of Textual's `Keys`, which has none for these."""

    value: str


def teach_alt_keys() -> None:
    """Add ESC with Enter or a letter to the key sequences that Textual knows."""
    table = cast("dict[str, Any]", ANSI_SEQUENCES_KEYS)
    for character in string.ascii_letters:
        if character not in _LONGER:
            shift = "shift+" if character.isupper() else ""
            table.setdefault(f"\x1b{character}", (_Key(f"alt+{shift}{character.lower()}"),))
    table.setdefault("\x1b\r", (_Key("alt+enter"),))
