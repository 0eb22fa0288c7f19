"""What the doctor finds on a machine in order, and how it says what is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory import Memory
from stevemin_chat.base import Paths
from stevemin_chat.doctor import Check, examine


@pytest.fixture
def paths(stevemin_home: Path) -> Paths:
    paths = Paths.resolve()
    paths.config.mkdir(parents=True)
    with Memory(paths.database) as memory:
        memory.add_message(memory.create_session("Trip to Rome").id, "user", "What to see?")
    return paths


def by_id(paths: Paths) -> dict[str, Check]:
    return {check.id: check for check in examine(paths)}


def test_everything_in_order(paths: Paths) -> None:
    checks = by_id(paths)
    expected = {"python", "packages", "llama", "offload", "devices", "settings", "catalogue", "starter"}
    assert set(checks) == expected | {"data", "disk", "database", "compilers", "embedder"}
    assert not [check for check in checks.values() if check.status == "fail"]
    assert "no damage found" in checks["database"].found
    assert "smollm2-135m" in checks["catalogue"].found


def test_what_is_broken_is_named_and_how_to_mend_it(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.config_file.write_text("nope = 1\n")
    paths.user_catalogue.write_text("[[[")
    pages = bytearray(paths.database.read_bytes())
    pages[4096:12288] = b"\xff" * 8192
    paths.database.write_bytes(pages)
    monkeypatch.setenv("PATH", "/nowhere")
    checks = by_id(paths)
    failed = {name for name, check in checks.items() if check.status == "fail"}
    assert failed == {"settings", "catalogue", "starter", "database"}
    assert "line 1: nope" in checks["settings"].found
    assert str(paths.user_catalogue) in checks["catalogue"].found
    assert "damaged" in checks["database"].found + checks["database"].mend
    assert checks["compilers"].status == "warn"
    assert "build-essential" in checks["compilers"].mend


def test_a_data_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVEMIN_HOME", "/proc/stevemin")
    data = by_id(Paths.resolve())["data"]
    assert (data.status, data.title) == ("fail", "Data folder")
    assert data.found.startswith("/proc/stevemin/data cannot be written to")
    assert "STEVEMIN_HOME" in data.mend
