"""What ESC and another key are read as, and the keys behind them in the same write."""

from __future__ import annotations

import pytest
from textual import events
from textual._xterm_parser import XTermParser

from stevemin_chat.tui.alt_keys import AltParser

MANY = "zebra and text than thirty-two characters, in one write"


def read(parser: XTermParser, *writes: str) -> tuple[list[str], str]:
    """The keys that are not text, and the text."""
    keys, text = [], ""
    messages = [message for write in (*writes, "") for message in parser.feed(write)]
    for event in messages:
        assert isinstance(event, events.Key)
        if event.is_printable:
            text += event.character or ""
        else:
            keys.append(event.key)
    return keys, text


@pytest.mark.parametrize("behind", ["", "z", "\x7f", MANY, "\x1b[A" + MANY])
@pytest.mark.parametrize(
    ("letter", "key"),
    [
        ("c", "alt+c"),
        ("C", "alt+shift+c"),
        ("N", "alt+shift+n"),
        ("O", "alt+shift+o"),
        ("1", "alt+1"),
        ("0", "alt+0"),
        ("-", "alt+minus"),
        ("=", "alt+equals_sign"),
        ("P", "alt+shift+p"),
        ("X", "alt+shift+x"),
        ("ä", "alt+ä"),
        ("Ä", "alt+shift+ä"),
        ("\u0441", "alt+\u0441"),
        ("中", "alt+中"),
        (".", "alt+full_stop"),
        ("[", "alt+left_square_bracket"),
        ("]", "alt+right_square_bracket"),
        ("\r", "alt+enter"),
    ],
)
def test_alt_with_a_key_is_never_text_whatever_is_behind_it(letter: str, key: str, behind: str) -> None:
    keys, text = read(AltParser(), f"a\x1b{letter}{behind}")
    expected = {"\x7f": ["backspace"], "\x1b[A" + MANY: ["up"]}.get(behind, [])
    assert keys == [key, *expected]
    assert text == "a" + (MANY if behind.endswith(MANY) else behind if behind == "z" else "")


@pytest.mark.parametrize(
    "sequence", ["\x1bOA", "\x1b[A", "\x1b[1;3B", "\x1b\x7f", "\x1bb", "\x1b[13;2u", "\x1b", "\x1b\x1b"]
)
def test_sequences_that_textual_knows_stay_as_they_are(sequence: str) -> None:
    assert read(AltParser(), sequence) == read(XTermParser(), sequence)


@pytest.mark.parametrize("behind", ["", MANY])
def test_a_control_key_behind_escape_stays_itself(behind: str) -> None:
    assert read(AltParser(), f"\x1b\x11{behind}") == (["ctrl+q"], behind)
