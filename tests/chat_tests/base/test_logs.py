"""The log: everything goes to the file, nothing to the terminal."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from stevemin_chat.base.logs import log_path, start_logging


@pytest.fixture
def clean_logging() -> Iterator[None]:
    """Give the test runner its handlers back."""
    root = logging.getLogger()
    kept, level, last_resort = list(root.handlers), root.level, logging.lastResort
    hooks = threading.excepthook, sys.unraisablehook
    shows, raises = warnings.showwarning, logging.raiseExceptions
    for handler in kept:
        root.removeHandler(handler)
    yield
    logging.captureWarnings(False)
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in kept:
        root.addHandler(handler)
    root.setLevel(level)
    logging.lastResort, logging.raiseExceptions, warnings.showwarning = last_resort, raises, shows
    threading.excepthook, sys.unraisablehook = hooks


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
