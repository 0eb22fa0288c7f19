"""What commands write to a terminal or a pipe."""

from __future__ import annotations

import io
import json
import sys
import unicodedata

import pytest
from chat_tests.cli.cli_kit import Cli
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from memory import Memory
from stevemin_chat.base import Declined, Paths
from stevemin_chat.cli.output import (
    ProgressLine,
    confirm,
    json_text,
    print_answer,
    print_json,
    print_lines,
    print_table,
)
from stevemin_chat.text import Sanitizer

NASTY = "a\x1b]0;owned\x07b\x9b31mc\x85d\u202egnp.exe\u2066e\u200ff\x7fg"
CONTROLS = ("Cc", "Cs", "Zl", "Zp")


def obeyed(text: str) -> list[str]:
    """The characters that a terminal would obey, or that reorder what is read."""
    bidi = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return [
        char
        for char in text
        if (unicodedata.category(char) in CONTROLS and char != "\n")
        or unicodedata.bidirectional(char) in bidi
        or char in "\u061c\u200e\u200f"
    ]


def test_control_sequences_of_a_model_do_not_reach_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    cleaner = Sanitizer()
    for piece in ("a\x1b", "[31", "mb\x1b]0;x", "\x07c\n"):
        print_answer(piece, cleaner)
    print_answer("\x1b[0m", None)
    assert capsys.readouterr().out == "abc\n\x1b[0m"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_escapes_what_a_terminal_obeys_and_keeps_its_value(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    print_json({NASTY: [NASTY, "駅 \ud800 \u2028"]})
    stdout.seek(0)
    written = stdout.read()
    assert obeyed(written) == []
    assert json.loads(written) == {NASTY: [NASTY, "駅 \ud800 \u2028"]}
    assert ("駅" in written) == (encoding == "utf-8")


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner)))
def test_any_json_keeps_its_value(document: object) -> None:
    written = json_text(document)
    assert json.loads(written) == document
    assert obeyed(written) == []


def test_every_command_escapes_titles_and_texts(cli: Cli, paths: Paths) -> None:
    with Memory(paths.database) as memory:
        record = memory.create_session("Rome \u202egnp\x9b31m")
        memory.add_message(record.id, "user", f"I live in Porto {NASTY}")
    for arguments in (
        ["sessions", "list"],
        ["sessions", "show", record.id],
        ["memory", "list"],
        ["memory", "search", "Porto"],
        ["memory", "export"],
    ):
        for options in ([], ["--json"]):
            assert obeyed(cli(*arguments, *options).out) == [], arguments
    titles = [entry["title"] for entry in cli("sessions", "list", "--json").json]
    assert titles == ["Rome \u202egnp 31m"], "its value stays the same"
    asked = cli("sessions", "delete", record.id, stdin="n\n", terminal=True)
    assert obeyed(asked.err) == []
    assert "Rome" in asked.err


def test_a_question_and_its_details_are_clean_lines_that_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = io.StringIO("n\n")
    source.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", source)
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(Declined):
        confirm(f"Forget\n{NASTY}?", yes=False, details=[f"{NASTY}\n" + "駅" * 100])
    said = capsys.readouterr().err
    detail, question = said.split("\n")
    assert obeyed(said) == []
    assert cell_len(detail) <= 40
    assert detail.endswith("…")
    assert question.startswith("Forget ab")


def test_columns_line_up_by_cells(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "SIZE"), [("駅の近く", "1"), ("a\tb\nc", "2")])
    header, *rows = capsys.readouterr().out.splitlines()
    start = cell_len(header[: header.index("SIZE")])
    assert [cell_len(row[:-1]) for row in rows] == [start, start]


def test_long_lines_wrap_between_words_by_cells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    text = "    " + "駅の近く walk " * 5 + "駅" * 20
    print_lines([text, ""])
    assert capsys.readouterr().out == text + "\n\n", "a pipe gets it whole"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_lines([text])
    lines = capsys.readouterr().out.splitlines()
    assert max(cell_len(line) for line in lines) <= 20
    assert all(line.startswith("    ") for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_progress_is_one_clean_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    line = ProgressLine(f"{NASTY}駅の近くの家", shown=True)
    line.show("駅" * 20)
    line.clear()
    drawn = capsys.readouterr().err.split("\r\x1b[K")[1]
    assert cell_len(drawn) <= 19
    assert obeyed(drawn) == []
