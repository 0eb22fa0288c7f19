"""Folders, the single-instance lock and the log."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from stevemin_chat.base.errors import AlreadyRunning, FolderNotWritable
from stevemin_chat.base.logs import log_path, start_logging
from stevemin_chat.base.paths import Paths, SingleInstance, builtin_catalogue_path


def test_one_folder_holds_everything_when_asked_to(tmp_path: Path) -> None:
    paths = Paths.resolve({"STEVEMIN_HOME": str(tmp_path)})
    inside = (paths.config_file, paths.user_catalogue, paths.database, paths.models_dir, paths.lock_file)
    assert all(path.is_relative_to(tmp_path) for path in (*inside, paths.cache, paths.log_file))
    assert len({paths.config, paths.data, paths.cache, paths.logs}) == 4


def test_otherwise_the_folders_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    monkeypatch.setenv("XDG_DATA_HOME", "/d")
    paths = Paths.resolve({"STEVEMIN_HOME": "  "})
    if sys.platform.startswith("linux"):
        assert (paths.config, paths.data) == (Path("/c/stevemin"), Path("/d/stevemin"))
    assert paths.logs != paths.data


def test_the_shipped_catalogue_is_found() -> None:
    assert "[models.smollm2-135m]" in builtin_catalogue_path().read_text()


def test_a_new_data_folder_is_private(tmp_path: Path) -> None:
    paths = Paths.resolve({"STEVEMIN_HOME": str(tmp_path)})
    paths.prepare()
    assert paths.data.stat().st_mode & 0o077 == 0
    assert list(paths.data.iterdir()) == []


@pytest.mark.parametrize("home", ["/proc/stevemin", "{file}/home"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, home: str) -> None:
    file = tmp_path / "file"
    file.touch()
    paths = Paths.resolve({"STEVEMIN_HOME": home.format(file=file)})
    with pytest.raises(FolderNotWritable) as raised:
        paths.prepare()
    assert raised.value.folder == paths.data
    assert raised.value.errno


def test_the_lock_is_taken_by_one_and_told_to_the_other(tmp_path: Path) -> None:
    lock = tmp_path / "data" / "stevemin.lock"
    with SingleInstance(lock):
        with pytest.raises(AlreadyRunning) as raised, SingleInstance(lock):
            pytest.fail("two at once")
        assert raised.value.pid == os.getpid()
        assert f"(process {os.getpid()})" in str(raised.value)
        assert "STEVEMIN_HOME" in str(raised.value)
    with SingleInstance(lock):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    lock = tmp_path / "stevemin.lock"
    script = (
        "import sys, time; from pathlib import Path; from stevemin_chat.instance import SingleInstance\n"
        "with SingleInstance(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning, match=str(holder.pid)), SingleInstance(lock):
            pytest.fail("two at once")
        holder.kill()
        holder.wait()
    with SingleInstance(lock):
        pass


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
        "import logging; from pathlib import Path; from stevemin_chat.logs import start_logging\n"
        "start_logging(Path('/dev/full')); logging.getLogger('stevemin').error('lost')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("", "")
