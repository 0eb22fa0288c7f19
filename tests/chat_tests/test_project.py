"""Which folder a chat's project is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stevemin_chat.base.paths import project_folder


@pytest.fixture(autouse=True)
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
