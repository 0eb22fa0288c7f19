"""What the tests of the commands share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_tests.cli.cli_kit import Cli
from chat_tests.models.loopback_hub import REPO, LoopbackHub

from memory import Memory
from stevemin_chat.base.paths import Paths
from stevemin_chat.models import download

CONTENT = b"GGUF" + bytes(range(256)) * 4000


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(capsys, monkeypatch)


@pytest.fixture
def paths(stevemin_home: Path) -> Paths:
    paths = Paths.resolve()
    paths.config.mkdir(parents=True)
    return paths


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    monkeypatch.setattr(download, "_WAIT_S", 0.001)
    files = {"m-Q4_K_M.gguf": CONTENT, "m-Q8_0.gguf": CONTENT + b"8"}
    with LoopbackHub({REPO: files}) as loopback:
        monkeypatch.setenv("HF_ENDPOINT", loopback.endpoint)
        yield loopback


@pytest.fixture
def session_id(paths: Paths) -> str:
    with Memory(paths.database) as memory:
        record = memory.create_session("Trip to Rome")
        memory.set_session(record.id, system_prompt="Be brief.")
        memory.add_message(record.id, "user", "What to see?\x1b]0;owned\x07")
        reply = memory.begin_reply(record.id, model="smollm2-135m")
        memory.finish_reply(reply.id, "The Forum.", status="cancelled", finish_reason="cancelled")
        memory.create_session("Other")
        return record.id
