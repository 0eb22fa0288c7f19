"""Every error of every part has words."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from pathlib import Path

import pytest

import engine.errors
import memory.errors
import stevemin_chat.base.errors
from stevemin_chat.base.errors import (
    AlreadyRunning,
    ConfigFileError,
    FolderNotWritable,
    ModelSwitchFailed,
    UsageProblem,
)
from stevemin_chat.chats import session
from stevemin_chat.notices import describe


def _tree(base: type[BaseException]) -> list[type[BaseException]]:
    return [base, *(kind for child in base.__subclasses__() for kind in _tree(child))]


@pytest.mark.parametrize(
    "kind",
    _tree(engine.errors.EngineError)
    + _tree(memory.errors.StoreError)
    + _tree(stevemin_chat.base.errors.ChatAppError)
    + _tree(session.ChatError),
    ids=lambda kind: kind.__name__,
)
def test_no_error_of_ours_is_unexpected(kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    error = kind.__new__(kind)
    error.args = ("Something is wrong with it. Mend it.",)
    notice = describe(error)
    assert "nexpected" not in notice.title + notice.text
    assert notice.title
    if kind is engine.errors.LoadCancelled:
        assert (notice.exit_code, notice.severity) == (130, "information")
    else:
        assert notice.text.startswith("Something is wrong with it. Mend it.")
        assert notice.exit_code == (2 if kind is UsageProblem else 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_interruption_is_no_failure(error: BaseException) -> None:
    assert describe(error).exit_code == 130


def test_a_long_prompt_gets_numbers_and_advice() -> None:
    notice = describe(engine.errors.PromptTooLong(9000, 8192, prompt_tokens=8500))
    assert notice.title == "Prompt too long"
    assert "9,000" in notice.text
    assert "Shorten the message" in notice.text


@pytest.mark.parametrize(
    ("number", "title", "words"),
    [
        (errno.ENOSPC, "Disk full", "The disk is full: /x/y. Free some space"),
        (errno.EDQUOT, "Disk full", "quota"),
        (errno.EACCES, "No permission", "Permission denied: /x/y"),
        (errno.EROFS, "Read-only disk", "read-only: /x/y"),
        (errno.EIO, "File trouble", "Input/output error: /x/y."),
    ],
)
def test_errors_of_the_system(number: int, title: str, words: str) -> None:
    notice = describe(OSError(number, os.strerror(number), "/x/y"))
    assert notice.title == title
    assert words in notice.text


def test_a_folder_that_cannot_be_written_to() -> None:
    notice = describe(FolderNotWritable(Path("/x"), OSError(errno.EACCES, "Permission denied")))
    assert notice.text.startswith("The folder /x is not writable (Permission denied). Set STEVEMIN_HOME")
    full = describe(FolderNotWritable(Path("/x"), OSError(errno.ENOSPC, "No space left")))
    assert full.title == "Disk full"


def test_what_nobody_foresaw_is_one_line_and_a_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ZeroDivisionError("a\nb \x1b[31mred")
    except ZeroDivisionError as error:
        notice = describe(error)
    assert notice.text == "Something unexpected went wrong (ZeroDivisionError: a b red)."
    assert notice.exit_code == 1
    assert caplog.records[-1].exc_info is not None
    assert "test_what_nobody_foresaw" in caplog.text


def test_the_log_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stevemin_chat.notices.log_path", lambda: Path("/logs/stevemin.log"))
    assert describe(ValueError("x")).text.endswith("Details are in /logs/stevemin.log.")
    crash = engine.errors.EngineCrashed("The engine died.")
    assert describe(crash).text == "The engine died. Details are in /logs/stevemin.log."


def test_out_of_memory() -> None:
    assert "Not enough free memory" in describe(MemoryError()).text


def test_a_failed_change_of_model_says_what_is_loaded() -> None:
    cause = engine.errors.ModelCorrupt("b.gguf is broken.")
    assert describe(ModelSwitchFailed("b", cause, "a")).text == "b.gguf is broken. a is loaded again."
    assert "does not load again either" in describe(ModelSwitchFailed("b", cause, None)).text


def test_control_sequences_in_names_do_not_reach_the_terminal() -> None:
    error = ConfigFileError(Path("/x/\x1b]0;title\x07c.toml"), "a\x9b31mb", 3, "Wrong.")
    assert describe(error).text == "/x/c.toml, line 3: ab: Wrong."
    assert "1234" in describe(AlreadyRunning(1234, Path("/data"))).text


def test_foreseen_errors_are_not_logged_as_unexpected(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        describe(engine.errors.ModelNotFound("There is no model x."))
    assert not caplog.records
