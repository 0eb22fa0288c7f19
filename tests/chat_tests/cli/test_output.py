"""What commands write to a terminal or a pipe."""

from __future__ import annotations

import pytest

from stevemin_chat.cli.output import print_answer


def test_control_sequences_of_a_model_do_not_reach_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from stevemin_chat.text.sanitize import Sanitizer

    cleaner = Sanitizer()
    for piece in ("a\x1b", "[31", "mb\x1b]0;x", "\x07c\n"):
        print_answer(piece, cleaner)
    print_answer("\x1b[0m", None)
    assert capsys.readouterr().out == "abc\n\x1b[0m"
