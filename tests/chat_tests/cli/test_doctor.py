"""`stevemin doctor`: what it prints, and how it ends."""

from __future__ import annotations

import pytest
from chat_tests.cli.cli_kit import Cli

from stevemin_chat.base import Paths


def test_all_is_well(cli: Cli, session_id: str) -> None:
    ran = cli("doctor", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert all(set(check) == {"id", "title", "status", "found", "mend"} for check in ran.json)
    assert not [check for check in ran.json if check["status"] == "fail"]
    assert cli("doctor").out.count("\n") >= len(ran.json)


def test_something_is_broken(cli: Cli, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.config_file.write_text("nope = 1\n")
    ran = cli("doctor", "--json")
    assert ran.code == 1
    assert [check["id"] for check in ran.json if check["status"] == "fail"] == ["settings"]
    monkeypatch.setenv("STEVEMIN_HOME", "/proc/stevemin")
    ran = cli("doctor")
    assert ran.code == 1
    assert "fail  Data folder: /proc/stevemin/data cannot be written to" in ran.out
