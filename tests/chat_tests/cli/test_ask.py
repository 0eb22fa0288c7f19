"""`stevemin ask` up to the engine: the files that constrain an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_tests.cli.cli_kit import Cli

from stevemin_chat.base.config import Config
from stevemin_chat.cli.answer import Question


@pytest.mark.parametrize(
    ("option", "content", "words"),
    [
        ("--json-schema", None, "cannot be read (No such file or directory)"),
        ("--grammar", None, "cannot be read (No such file or directory)"),
        ("--json-schema", b'{"type": "object",\n}', "is not JSON: "),
        ("--json-schema", b"", "is not JSON: "),
        ("--json-schema", b"[" * 100_000, "is not JSON: "),
        ("--json-schema", b"9" * 5000, "is not JSON: "),
        ("--grammar", b'root ::= "gr\xfcn"', "is not UTF-8 text"),
    ],
    ids=["no schema", "no grammar", "comma", "empty", "deep", "large", "latin-1"],
)
def test_a_form_for_the_answer_that_is_none(
    cli: Cli, tmp_path: Path, option: str, content: bytes | None, words: str
) -> None:
    file = tmp_path / "form"
    if content is not None:
        file.write_bytes(content)
    cli("ask", "hi", option, str(file)).failed(str(file), words)


@pytest.mark.parametrize(
    ("option", "field", "text"),
    [
        ("--json-schema", "json_schema", '{"type": "integer"}\n'),
        ("--grammar", "grammar", 'root ::= "ja" | "nein, schön"\n'),
    ],
    ids=["schema", "grammar"],
)
def test_the_form_of_the_answer_goes_to_the_engine_as_it_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, field: str, text: str
) -> None:
    asked: list[Question] = []

    def answer(question: Question) -> int:
        asked.append(question)
        return 0

    monkeypatch.setattr("stevemin_chat.cli.answer.run_question", answer)
    file = tmp_path / "form"
    file.write_text(f"\ufeff{text}", encoding="utf-8")
    assert cli("ask", "hi", option, str(file)).code == 0
    assert getattr(Config().sampling.params(**asked[0].sampling), field) == text
