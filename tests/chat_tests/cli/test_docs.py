"""`stevemin docs`: what it prints, refuses and leaves behind."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from chat_tests.cli.cli_kit import Cli, command, environment

from memory import Memory
from stevemin_chat.base.paths import Paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "boats.md").write_text("# Boats\n\nThe canoe is turquoise.\n")
    (folder / "trains.md").write_text("# Trains\n\nThe train is late.\n")
    (folder / "photo.png").write_bytes(b"\0\1")
    return folder


def test_add_list_search_sync_remove(cli: Cli, paths: Paths, folder: Path) -> None:
    added = cli("docs", "add", str(folder))
    assert (added.code, added.out) == (0, "")
    assert added.err == "Documents: 2 added.\nLeft out: 1 not text.\n"
    listed = cli("docs", "list").out.splitlines()
    assert listed[0].split() == ["ID", "STATE", "PROJECT", "FILE"]
    assert [line.split("  ")[-1].strip() for line in listed[1:]] == [
        str(folder / name) for name in ("boats.md", "photo.png", "trains.md")
    ]
    assert "notes/boats.md:1-3" in cli("docs", "search", "turquoise canoe").out
    (folder / "trains.md").unlink()
    assert "Documents: 1 removed and 1 unchanged." in cli("docs", "sync").err
    assert cli("docs", "remove", str(folder / "boats.md")).err.startswith("Removed 1 document;")
    assert cli("docs", "search", "canoe").err == "Nothing was found.\n"
    assert "No documents." not in cli("docs", "list").err  # the picture is still listed


def test_json(cli: Cli, paths: Paths, folder: Path) -> None:
    assert cli("docs", "list", "--json").json == []
    assert cli("docs", "add", str(folder), "--json").json == {
        "added": 2,
        "changed": 0,
        "unchanged": 0,
        "removed": 0,
        "left_out": {"not text": 1},
        "missing": [],
        "stopped": False,
    }
    [boats, photo, _] = cli("docs", "list", "--json").json
    assert (boats["name"], boats["passages"], boats["project"]) == ("notes/boats.md", 1, None)
    assert photo["note"] == "not text"
    [hit] = cli("docs", "search", "turquoise", "--json").json
    assert (hit["file"], hit["first_line"], hit["last_line"]) == (str(folder / "boats.md"), 1, 3)
    assert (hit["place"], hit["session"], hit["role"]) == ("notes/boats.md:1-3", None, "document")
    assert cli("docs", "sync", "--json").json["unchanged"] == 2
    assert [item["id"] for item in cli("docs", "remove", str(boats["id"]), "--json").json] == [boats["id"]]


def test_several_documents_are_removed_only_after_a_question(cli: Cli, paths: Paths, folder: Path) -> None:
    cli("docs", "add", str(folder))
    cli("docs", "remove", str(folder)).failed("Not a terminal", code=2)
    assert "Removed 3 documents" in cli("docs", "remove", str(folder), "--yes").err
    assert "No documents. Add some" in cli("docs", "list").err


def test_clear_errors(cli: Cli, paths: Paths, folder: Path) -> None:
    cli("docs", "add", str(folder / "nowhere")).failed("No file or folder", "nowhere")
    cli("docs", "remove", "nowhere").failed("No document 'nowhere'")
    cli("docs", "add").failed(code=2)
    cli("docs", "add", " ").failed("empty", code=2)
    cli("docs", "search", " ").failed(code=2)


def test_names_cannot_drive_the_terminal(cli: Cli, paths: Paths, folder: Path) -> None:
    (folder / "evil\x1b[31m\nline.md").write_text("The canoe is red.")
    assert "\x1b" not in cli("docs", "add", str(folder)).err
    for arguments in (("list",), ("search", "red canoe"), ("list", "--json"), ("search", "red", "--json")):
        shown = cli("docs", *arguments).out
        assert "\x1b" not in shown
        assert "evil" in shown
    cli("docs", "remove", "no\x1b[31m\nsuch").failed("No document")


def test_a_search_with_the_chats_and_one_in_them_alone(cli: Cli, paths: Paths, folder: Path) -> None:
    paths.prepare()
    with Memory(paths.database) as memory:
        memory.add_message(memory.create_session("Colours").id, "user", "My canoe is orange.")
    cli("docs", "add", str(folder))
    assert "Colours" not in cli("docs", "search", "canoe").out
    both = cli("docs", "search", "canoe", "--chats").out
    assert "Colours" in both
    assert "boats.md" in both
    assert "boats" not in cli("memory", "search", "canoe").out


def test_ctrl_c_stops_and_keeps_what_was_read(paths: Paths, folder: Path) -> None:
    for number in range(2_000):
        words = " ".join(f"word{number}x{place}" for place in range(400))
        (folder / f"note{number:04}.txt").write_text(words)
    process = subprocess.Popen(
        command("docs", "add", str(folder)), stderr=subprocess.PIPE, text=True, env=environment()
    )
    while not _documents(paths):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "Stopped; what was read is kept, and the next sync goes on."
    kept = _documents(paths)
    assert 0 < kept < 2_000
    assert f"Documents: {kept - 1:,} added." in told or f"Documents: {kept:,} added." in told


def _documents(paths: Paths) -> int:
    if not paths.database.exists():
        return 0
    with Memory(paths.database) as memory:
        return len(memory.documents.list())
