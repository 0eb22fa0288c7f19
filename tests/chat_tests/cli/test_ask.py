"""`stevemin ask` up to the engine: the files that constrain an answer, and what it sweeps."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_tests.cli.cli_kit import Cli, environment

from stevemin_chat.base import Config
from stevemin_chat.cli.answer import Question, sweep_old_questions
from stevemin_chat.text import quoted_in


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


# Questions that earlier versions left behind


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A temporary folder as a killed `ask` of an earlier version left it, an hour ago."""
    folder = tmp_path / "tmp" / "stevemin-abc"
    folder.mkdir(parents=True, mode=0o700)
    for name in ("ask.db", "ask.db-wal", "ask.db-shm"):
        (folder / name).write_bytes(b"my secret question")
        os.utime(folder / name, (0, time.time() - 3600))
    return folder


def test_a_question_left_by_a_killed_ask_is_deleted(old: Path) -> None:
    sweep_old_questions(old.parent)
    assert list(old.parent.iterdir()) == []


def test_every_ask_sweeps(cli: Cli, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(old.parent))
    cli("ask", "hi", "--temperature", "9").failed("temperature", code=2)
    assert not old.exists()


def _other_file(old: Path) -> None:
    (old / "holiday.jpg").touch()


def _link(old: Path) -> None:
    (old / "ask.db").unlink()
    (old / "ask.db").symlink_to(old.parent.parent / "precious")


def _nothing(old: Path) -> None:
    for file in old.iterdir():
        file.unlink()


def _shared(old: Path) -> None:
    old.chmod(0o755)


def _renamed(old: Path) -> None:
    old.rename(old.with_name("steve-abc"))


def _young(old: Path) -> None:
    os.utime(old / "ask.db-wal")


@pytest.mark.parametrize("change", [_other_file, _link, _nothing, _shared, _renamed, _young])
def test_what_may_not_be_ours_or_is_in_use_is_left_alone(old: Path, change: Callable[[Path], None]) -> None:
    (old.parent.parent / "precious").write_text("mine")
    change(old)
    before = sorted(old.parent.rglob("*"))
    sweep_old_questions(old.parent)
    assert sorted(old.parent.rglob("*")) == before
    assert (old.parent.parent / "precious").read_text() == "mine"


def test_a_link_to_a_folder_is_left_alone(old: Path) -> None:
    (old.parent / "elsewhere").mkdir()
    moved = old.rename(old.parent / "elsewhere" / "kept")
    old.symlink_to(moved)
    sweep_old_questions(old.parent)
    assert len(list(moved.iterdir())) == 3


def test_a_store_that_a_process_has_open_is_left_alone(old: Path) -> None:
    for file in old.iterdir():
        file.unlink()
    script = (
        "import sys; from pathlib import Path; from memory import Memory\n"
        "with Memory(Path(sys.argv[1])) as memory: print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(old / "ask.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"open\n"
        for file in old.iterdir():
            os.utime(file, (0, time.time() - 3600))
        sweep_old_questions(old.parent)
        assert (old / "ask.db").exists()
        process.kill()
    sweep_old_questions(old.parent)
    assert not old.exists()


def test_a_temporary_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    sweep_old_questions(tmp_path / "gone")


# What is piped in


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """The questions that would be answered."""
    found: list[Question] = []

    def answer(question: Question) -> int:
        found.append(question)
        return 0

    monkeypatch.setattr("stevemin_chat.cli.answer.run_question", answer)
    return found


def test_what_is_piped_in_is_not_the_persons_own_words(cli: Cli, asked: list[Question]) -> None:
    assert cli("ask", "Sum it up", stdin="I live in Rome.\n\n").code == 0
    text = asked[0].text
    assert text == "Sum it up\n\nI live in Rome."
    assert [(text[start:end], origin) for start, end, origin in quoted_in(text)] == [
        ("I live in Rome.", "piped")
    ]


def test_a_question_that_is_an_argument_is(cli: Cli, asked: list[Question]) -> None:
    assert cli("ask", "I live in Rome.").code == 0
    assert cli("ask", stdin="I live in Rome.").code == 0
    assert [quoted_in(question.text) for question in asked] == [(), ((0, 15, "piped"),)]
