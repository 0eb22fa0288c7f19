"""Folders, the single-instance lock and the project of a chat."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stevemin_chat.base.errors import AlreadyRunning, FolderNotWritable
from stevemin_chat.base.paths import (
    Paths,
    SingleInstance,
    builtin_catalogue_path,
    delete_partials,
    project_folder,
    write_private,
)


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


def test_a_private_file_is_private_before_it_has_content_and_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "drafts.json"
    before = os.umask(0)
    try:
        write_private(file, "first")
    finally:
        os.umask(before)
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("first", 0o600)
    file.chmod(0o644)
    seen: list[int] = []

    def full(descriptor: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("stevemin_chat.base.paths.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_private(file, "second")
    assert seen == [0o600]
    assert file.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["drafts.json"]
    write_private(file, "third")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(FileNotFoundError) as raised:
        write_private(tmp_path / "no" / "file", "x")
    assert raised.value.filename == str(tmp_path / "no" / "file")


def test_what_a_killed_process_left_of_a_private_file_is_deleted(tmp_path: Path) -> None:
    file = tmp_path / "drafts.json"
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from stevemin_chat.base import paths\n"
        "paths.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "paths.write_private(Path(sys.argv[1]), 'of a chat')\n"
    )
    others = {".drafts.json.swp", ".drafts.json.backup-1", ".other.json.abcdefgh", ".drafts.json.abcdefghi"}
    for name in others:
        (tmp_path / name).write_text("not ours")
    (tmp_path / ".drafts.json.linked__").symlink_to(tmp_path / ".other.json.abcdefgh")
    others.add(".drafts.json.linked__")

    def beside(file: Path) -> set[str]:
        return {path.name for path in file.parent.iterdir() if path != file}

    for sweep in (delete_partials, lambda path: write_private(path, "new")):
        killed = subprocess.run([sys.executable, "-c", code, str(file)], check=False, timeout=60)
        assert killed.returncode == -signal.SIGKILL
        assert len(beside(file)) == len(others) + 1, "the killed process left its partial file"
        sweep(file)
        assert beside(file) == others
    assert file.read_text() == "new"


def test_a_partial_file_that_is_being_written_is_left_to_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "drafts.json"
    monkeypatch.setattr("stevemin_chat.base.paths.os.fsync", lambda _: delete_partials(file))
    write_private(file, "whole")
    assert file.read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["drafts.json"]


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
        "import sys, time; from pathlib import Path; from stevemin_chat.base.paths import SingleInstance\n"
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


# The project of a chat


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    return str(folder)


def test_the_repository_around_the_current_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = home / "work" / "boat"
    (repository / ".git").mkdir(parents=True)
    for folder in (repository, repository / "hull" / "keel"):
        enter(folder, monkeypatch)
        assert project_folder() == str(repository)
    (repository / "hull" / ".git").write_text("gitdir: elsewhere")  # a submodule
    assert project_folder() == str(repository / "hull")


def test_without_a_repository_the_current_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert enter(home / "notes", monkeypatch) == project_folder()
    (home / ".git").mkdir()
    assert project_folder() == str(home / "notes"), "settings kept in git make no project of the home folder"


def test_no_project_at_home_at_the_root_or_nowhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (home, Path("/")):
        monkeypatch.chdir(folder)
        assert project_folder() is None
    gone = home / "gone"
    enter(gone, monkeypatch)
    gone.rmdir()
    assert project_folder() is None


def test_a_name_that_is_no_text_can_be_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(Path(os.fsdecode(os.fsencode(home) + b"/\xff")), monkeypatch)
    assert project_folder() == f"{home}/\ufffd"
    os.mkdir(b".git")
    assert project_folder() == f"{home}/\ufffd"
