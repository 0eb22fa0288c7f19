"""Alt with another key, in terminals without the kitty protocol.

They send ESC and the key. Textual knows few of these pairs: it reads ESC CR as Enter, ESC and a full stop as
text, and ESC with a letter as text if more keys follow in the same write. It has no public way to change
this, so `teach_alt_keys` replaces its parser; the tests on a real terminal notice if an update of Textual
changes how the parser works.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers import linux_driver

__all__ = ["AltParser", "teach_alt_keys"]

_ESC = "\x1b"
_LONGER = "O["  # after ESC they start a longer sequence; they are keys only if Textual does not know it


class AltParser(XTermParser):
    """Reads ESC with a printable character or Enter as alt with that key, which is never text.

    A sequence that Textual knows comes first: ESC [ A is the arrow up, not alt+[ and A.
    """

    _escaped = False  # ESC was read by itself: the next character of the sequence belongs to it

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        if sequence == _ESC:
            # The first character of a sequence that Textual does not know and gives back piece by piece.
            # The Escape key itself does not come here.
            self._escaped = True
            return
        if len(sequence) == 1:
            alt, self._escaped = alt or self._escaped, False
        found = list(super()._sequence_to_key_events(sequence))
        if len(sequence) == 2 and sequence[1] not in _LONGER and all(event.is_printable for event in found):
            # Unknown, or known as what an option key types on a Mac: ESC 1 as "¡".
            found, alt = list(super()._sequence_to_key_events(sequence[1])), True
        for event in found:
            yield _with_alt(event) if alt else event


def _with_alt(event: events.Key) -> events.Key:
    if not event.is_printable and event.key != "enter":
        return event  # Escape and a control key, such as ctrl+q, in one write
    shift = "shift+" if len(event.key) == 1 and event.key.isupper() else ""
    key = event.key.lower() if shift else event.key
    return events.Key(f"alt+{shift}{key}", None)


def teach_alt_keys() -> None:
    """Let the terminal's driver read keys with `AltParser`."""
    linux_driver.XTermParser = AltParser  # type: ignore[attr-defined]
