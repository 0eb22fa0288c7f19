"""`stevemin doctor`."""

from __future__ import annotations

import pytest
from chat_tests.cli.cli_kit import Cli

from stevemin_chat.base.paths import Paths


def test_doctor_finds_everything_in_order(cli: Cli, session_id: str) -> None:
    ran = cli("doctor", "--json")
    assert (ran.code, ran.err) == (0, "")
    checks = {check["id"]: check for check in ran.json}
    expected = {"python", "packages", "llama", "offload", "devices", "settings", "catalogue", "starter"}
    assert set(checks) == expected | {"data", "disk", "database", "compilers"}
    assert not [check for check in checks.values() if check["status"] == "fail"]
    assert "no damage found" in checks["database"]["found"]
    assert "smollm2-135m" in checks["catalogue"]["found"]
    assert cli("doctor").out.count("\n") >= len(checks)


def test_doctor_names_what_is_broken_and_how_to_mend_it(
    cli: Cli, paths: Paths, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.config_file.write_text("nope = 1\n")
    paths.user_catalogue.write_text("[[[")
    pages = bytearray(paths.database.read_bytes())
    pages[4096:12288] = b"\xff" * 8192
    paths.database.write_bytes(pages)
    monkeypatch.setenv("PATH", "/nowhere")
    ran = cli("doctor", "--json")
    assert ran.code == 1
    checks = {check["id"]: check for check in ran.json}
    failed = {name for name, check in checks.items() if check["status"] == "fail"}
    assert failed == {"settings", "catalogue", "starter", "database"}
    assert "line 1: nope" in checks["settings"]["found"]
    assert str(paths.user_catalogue) in checks["catalogue"]["found"]
    assert "damaged" in checks["database"]["found"] + checks["database"]["mend"]
    assert checks["compilers"]["status"] == "warn"
    assert "build-essential" in checks["compilers"]["mend"]


def test_doctor_where_nothing_can_be_written(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVEMIN_HOME", "/proc/stevemin")
    ran = cli("doctor")
    assert ran.code == 1
    assert "fail  Data folder: /proc/stevemin/data cannot be written to" in ran.out
