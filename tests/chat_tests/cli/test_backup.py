"""`stevemin backup` and `restore`: what they print, ask and refuse."""

from __future__ import annotations

from pathlib import Path

from chat_tests.cli.cli_kit import Cli

from memory import Memory
from stevemin_chat.base.paths import Paths


def chats(paths: Paths) -> list[str]:
    with Memory(paths.database) as memory:
        return [record.title for record in memory.sessions()]


def told(paths: Paths, title: str) -> None:
    paths.prepare()
    with Memory(paths.database) as memory:
        memory.add_message(memory.create_session(title).id, "user", "I live in Porto.")


def test_a_backup_brings_the_chats_back(cli: Cli, paths: Paths, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    told(paths, "Rome")
    assert f"Backed up 1 chat, 1 message and 1 fact to {file}." in cli("backup", str(file)).err
    told(paths, "Garden")
    no = cli("restore", str(file), stdin="n\n", terminal=True)
    assert "Replace all present chats by the 1 chat, 1 message and 1 fact of" in no.err
    assert sorted(chats(paths)) == ["Garden", "Rome"]
    done = cli("restore", str(file), "--yes")
    assert "Restored 1 chat, 1 message and 1 fact" in done.err
    assert "stevemin.before-restore-1.db; delete it when" in done.err
    assert chats(paths) == ["Rome"]


def test_json(cli: Cli, paths: Paths, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    told(paths, "Rome")
    made = cli("backup", str(file), "--json").json
    assert made == {
        "file": str(file),
        "chats": 1,
        "messages": 1,
        "facts": 1,
        "size_bytes": file.stat().st_size,
    }
    back = cli("restore", str(file), "--yes", "--json").json
    assert back == made | {"kept": str(paths.data / "stevemin.before-restore-1.db")}


def test_what_is_refused(cli: Cli, paths: Paths, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    cli("backup", str(file)).failed("no chats to back up")
    told(paths, "Rome")
    cli("backup", str(tmp_path)).failed("is a folder", code=2)
    cli("backup", str(paths.database)).failed("is the database itself", code=2)
    cli("restore", str(paths.database)).failed("is the database itself", code=2)
    cli("restore", str(file)).failed("There is no file")
    file.write_text("not a database, not a database, not a database, not a database, not a database")
    cli("backup", str(file)).failed("Overwrite", "pass --yes", code=2)
    cli("restore", str(file), "--yes").failed("is not a database")
    assert chats(paths) == ["Rome"]
    assert cli("backup", str(file), "--yes").code == 0
    assert cli("restore", str(file), "--yes").code == 0
