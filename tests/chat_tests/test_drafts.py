from __future__ import annotations

from pathlib import Path

import pytest

from stevemin_chat.chats.chat import Chat
from stevemin_chat.chats.drafts import Drafts


def test_drafts_and_queues_come_back_as_drafts(tmp_path: Path) -> None:
    path = tmp_path / "drafts.json"
    chat = Chat("new-1", "", draft="half a thought", queue=["first", "second"])
    drafts = Drafts(path)
    kept = drafts.changes([chat, Chat("new-2", "")])
    assert kept is not None
    drafts.write(kept)
    assert drafts.changes([chat]) is None, "nothing new to write"
    assert Drafts(path).read() == {"": "first\nsecond\nhalf a thought"}
    assert path.stat().st_mode & 0o077 == 0, "nobody else reads what one has not said yet"


def test_a_sent_draft_is_gone(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path / "drafts.json")
    chat = Chat("new-1", "", draft="text")
    drafts.write(drafts.changes([chat]) or {})
    chat.draft = ""
    kept = drafts.changes([chat])
    assert kept == {}
    drafts.write(kept)
    assert drafts.read() == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": {"queue": 3}}', "\xff"])
def test_a_damaged_file_is_no_drafts(tmp_path: Path, content: str) -> None:
    path = tmp_path / "drafts.json"
    path.write_text(content, encoding="latin-1")
    assert Drafts(path).read() == {}
