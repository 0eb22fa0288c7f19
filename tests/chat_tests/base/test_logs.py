"""The log: everything goes to the file, nothing to the terminal."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_tests.cli.cli_kit import logging_kept

from stevemin_chat.base.logs import log_path, start_logging


@pytest.fixture
def clean_logging() -> Iterator[None]:
    """Give the test runner its handlers back."""
    with logging_kept():
        yield


@pytest.mark.usefixtures("clean_logging")
def test_logs_warnings_and_dead_threads_go_to_the_file_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "logs" / "stevemin.log"
    start_logging(file)
    start_logging(file)
    assert log_path() == file
    logging.getLogger("llama").warning("a library speaks")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("an old function", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    thread = threading.Thread(target=lambda: 1 / 0, name="worker-7")
    thread.start()
    thread.join()
    text = file.read_text()
    assert text.count("a library speaks") == 1
    assert "an old function" in text
    assert "uncaught in thread worker-7" in text
    assert "ZeroDivisionError" in text
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("clean_logging")
def test_a_log_that_cannot_be_written_keeps_nobody_from_chatting(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").touch()
    start_logging(tmp_path / "logs" / "stevemin.log")
    logging.getLogger("stevemin").error("lost")
    assert log_path() is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_log_on_a_full_disk_is_silent() -> None:
    script = (
        "import logging; from pathlib import Path; from stevemin_chat.base.logs import start_logging\n"
        "start_logging(Path('/dev/full')); logging.getLogger('stevemin').error('lost')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("", "")


# Private


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.usefixtures("clean_logging")
def test_the_log_is_private_from_its_creation_and_after_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stevemin_chat.base.logs._MAX_BYTES", 200)
    created: list[int] = []
    real = os.open

    def noted(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
        created.append(mode)
        return real(path, flags, mode, **more)

    monkeypatch.setattr("stevemin_chat.base.logs.os.open", noted)
    file = tmp_path / "logs" / "stevemin.log"
    before = os.umask(0)
    try:
        start_logging(file)
        for _ in range(20):
            logging.getLogger("stevemin").info("a line that fills the file")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(list(file.parent.iterdir())) == 4
    assert modes(file.parent) == {0o600}
    assert set(created) == {0o600}, "never wider, not even for a moment"


@pytest.mark.usefixtures("clean_logging")
def test_wider_logs_of_earlier_versions_become_private(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o755)
    for name in ("stevemin.log", "stevemin.log.1", "stevemin.log.3"):
        (folder / name).write_text("old\n")
        (folder / name).chmod(0o644)
    start_logging(folder / "stevemin.log")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert modes(folder) == {0o600}
    assert (folder / "stevemin.log").read_text() == "old\n"


# Text of chats

SECRET = "my cat is called Zwetschge"


def _raise_over_the_text() -> None:
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        both = ExceptionGroup(SECRET, [ValueError(SECRET), OSError(28, "No space left on device")])
        both.add_note(SECRET)
        raise both from error


@pytest.mark.usefixtures("clean_logging")
def test_an_exception_that_quotes_a_chat_leaves_its_traceback_only(tmp_path: Path) -> None:
    file = tmp_path / "stevemin.log"
    start_logging(file)
    try:
        _raise_over_the_text()
    except ExceptionGroup:
        logging.getLogger("stevemin").exception("unexpected error")
    text = file.read_text()
    assert "Zwetschge" not in text
    for part in ("KeyError", "ValueError", "_raise_over_the_text", "No space left on device"):
        assert part in text


@pytest.mark.usefixtures("clean_logging")
def test_callbacks_and_tasks_that_fail_do_not_show_their_arguments(tmp_path: Path) -> None:
    file = tmp_path / "stevemin.log"
    start_logging(file)

    def show(text: str) -> None:
        raise ValueError(text)

    async def failing() -> None:
        asyncio.get_running_loop().call_soon(show, SECRET)
        asyncio.get_running_loop().call_exception_handler(
            {"message": "Task exception was never retrieved", "future": f"<Task result={SECRET!r}>"}
        )
        await asyncio.sleep(0)

    asyncio.run(failing())
    text = file.read_text()
    assert "Zwetschge" not in text
    assert "Exception in callback" in text
    assert "Task exception was never retrieved" in text


@pytest.mark.usefixtures("clean_logging")
def test_an_object_that_cannot_be_deleted_is_named_by_its_kind(tmp_path: Path) -> None:
    class Draft:
        def __repr__(self) -> str:
            return SECRET

        def __del__(self) -> None:
            raise ValueError(SECRET)

    file = tmp_path / "stevemin.log"
    start_logging(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        Draft()
    text = file.read_text()
    assert "Zwetschge" not in text
    assert "Draft.__del__" in text


@pytest.mark.usefixtures("clean_logging")
def test_of_an_error_of_sqlite_the_log_has_the_code_only(tmp_path: Path) -> None:
    file = tmp_path / "stevemin.log"
    start_logging(file)
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE notes (text TEXT UNIQUE)")
    for statement in (
        "SELECT cast(x'5a77657473636867650aff' AS TEXT)",  # "Zwetschge", and no UTF-8
        "SELECT Zwetschge",
        "INSERT INTO notes VALUES (1), (1)",
    ):
        with pytest.raises(sqlite3.Error) as raised:
            connection.execute(statement).fetchall()
        logging.getLogger("stevemin").error("not stored", exc_info=raised.value)
    connection.close()
    logged = [line for line in file.read_text().splitlines() if line.startswith("sqlite3.")]
    assert logged == [
        "sqlite3.OperationalError: (message left out: it may quote a chat)",
        "sqlite3.OperationalError: SQLITE_ERROR",
        "sqlite3.IntegrityError: SQLITE_CONSTRAINT_UNIQUE",
    ]
