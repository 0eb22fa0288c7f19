"""The file of drafts: what it keeps, who may read it, and what happens to a damaged one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from memory import SessionRecord
from stevemin_chat.chats import Chat, Drafts
from stevemin_chat.chats.drafts import DraftsNotRead, DraftsUnreadable, KeptDraft
from stevemin_chat.text import Typed, quoted_in


def write(drafts: Drafts, *chats: Chat) -> None:
    kept = drafts.changes(chats)
    assert kept is not None
    drafts.write(kept)


def stored(session_id: str, **fields: Any) -> Chat:
    record = SessionRecord(id=session_id, title="", created_at="", updated_at="")
    return Chat(session_id, "", record, **fields)


def test_each_chat_keeps_its_draft_and_its_queue(tmp_path: Path) -> None:
    path = tmp_path / "drafts.json"
    drafts = Drafts(path)
    chats = [
        Chat("new-2", "Boat", draft="half a thought", settings={"off_record": True, "strategy": "full"}),
        Chat("new-1", "", queue=["first", "second"]),
        stored("s1", draft="more"),
        stored("s2"),
    ]
    write(drafts, *chats)
    assert drafts.changes(chats) is None, "nothing new to write"
    assert Drafts(path).read() == [
        KeptDraft(title="Boat", draft="half a thought", settings={"off_record": True, "strategy": "full"}),
        KeptDraft(queue=("first", "second")),
        KeptDraft(session_id="s1", draft="more"),
    ]


def test_a_message_on_its_way_to_the_store_is_kept_before_those_in_the_queue(tmp_path: Path) -> None:
    chat = Chat("new-1", "", queue=["second"], sending="first")
    (kept,) = Drafts(tmp_path / "drafts.json").changes([chat]) or []
    assert kept.queue == ("first", "second")


def test_nobody_else_can_ever_read_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    opened = os.open

    def watch(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        file = opened(path, flags, mode, **options)
        modes.append(os.fstat(file).st_mode & 0o777)
        return file

    monkeypatch.setattr(os, "open", watch)
    monkeypatch.setattr(Path, "write_text", None)  # would create it with the mode that the umask leaves
    path = tmp_path / "drafts.json"
    previous = os.umask(0)
    try:
        write(Drafts(path), Chat("new-1", "", draft="private"))
    finally:
        os.umask(previous)
    assert modes == [0o600], "private from the start, not made so afterwards"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_sent_draft_is_gone(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path / "drafts.json")
    chat = Chat("new-1", "", draft="text")
    write(drafts, chat)
    chat.draft = ""
    assert drafts.changes([chat]) == []
    write(drafts, chat)
    assert drafts.read() == []


def test_a_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "drafts.json"
    path.write_text('{"": {"draft": "half", "queue": []}, "s1": {"draft": "", "queue": ["one"]}}')
    assert Drafts(path).read() == [KeptDraft(draft="half"), KeptDraft(session_id="s1", queue=("one",))]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"a": 1}',
        '{"a": {"queue": 3}}',
        '{"chats": [{"draft": 3}]}',
        '{"chats": [{"queue": [[]]}]}',
        '{"chats": [{"settings": {"strategy": []}}]}',
        "\xff",
        "[" * 100_000,
        '{"chats": [{"draft": ' + "[" * 100_000,
    ],
    ids=range(11),
)
def test_a_damaged_file_is_set_aside(tmp_path: Path, content: str) -> None:
    path = tmp_path / "drafts.json"
    for number in (1, 2):
        path.write_text(content, encoding="latin-1")
        drafts = Drafts(path)
        with pytest.raises(DraftsUnreadable, match=f"drafts.damaged-{number}.json") as raised:
            drafts.read()
        assert raised.value.kept.read_text(encoding="latin-1") == content
        assert drafts.read() == [], "from here on there is no file"


def test_a_missing_file_is_no_drafts(tmp_path: Path) -> None:
    assert Drafts(tmp_path / "drafts.json").read() == []


def test_a_file_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    path = tmp_path / "drafts.json"
    path.mkdir()
    with pytest.raises(DraftsNotRead, match=r"drafts\.json \(Is a directory\)"):
        Drafts(path).read()


def test_names_that_this_version_does_not_know_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "drafts.json"
    settings = {"strategy": "bogus", "scope": "galaxy", "off_record": True, "system_prompt": "Be brief."}
    known = {"strategy": "sliding", "scope": "project"}
    path.write_text(
        json.dumps({"chats": [{"draft": "a", "settings": settings}, {"draft": "b", "settings": known}]})
    )
    kept = [item.settings for item in Drafts(path).read()]
    assert kept == [{"off_record": True, "system_prompt": "Be brief."}, known]


def test_what_is_read_is_safe_for_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "drafts.json"
    text = "a\ud800b\x9b31m\u202ec\n\td"
    fields = {"title": text, "draft": text, "queue": [text, "\x9b31m"], "settings": {"system_prompt": text}}
    path.write_text(json.dumps({"chats": [fields]}))
    safe = "a\ufffdbc\n\td"
    assert Drafts(path).read() == [
        KeptDraft(title=safe, draft=safe, queue=(safe,), settings={"system_prompt": safe})
    ]


def test_reading_deletes_what_a_killed_process_left(tmp_path: Path) -> None:
    leftover = tmp_path / ".drafts.json.abcdefgh"
    leftover.write_text("of a chat")
    Drafts(tmp_path / "drafts.json").read()
    assert not leftover.exists()


def test_what_was_pasted_is_kept_with_the_text(tmp_path: Path) -> None:
    path = tmp_path / "drafts.json"
    drafts = Drafts(path)
    draft = Typed("see AAA", [(4, 7, "pasted")])
    chat = Chat("new-1", "", draft=draft, queue=["own", Typed("BBB", [(0, 3, "pasted")])])
    write(drafts, chat)
    (kept,) = Drafts(path).read()
    assert quoted_in(kept.draft) == ((4, 7, "pasted"),)
    assert [quoted_in(text) for text in kept.queue] == [(), ((0, 3, "pasted"),)]
    chat.draft = "see AAA"  # deleted, and typed again
    assert drafts.changes([chat]) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"draft": "abc", "draft_quoted": 5},
        {"draft": "abc", "draft_quoted": [5]},
        {"draft": "abc", "draft_quoted": [[0, 1]]},
        {"draft": "abc", "draft_quoted": [[0, 1, "heard"]]},
        {"draft": "abc", "draft_quoted": [["0", 1, "pasted"]]},
        {"queue": ["abc"], "queue_quoted": {}},
    ],
)
def test_a_file_with_parts_of_another_kind_is_damaged(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = tmp_path / "drafts.json"
    path.write_text(json.dumps({"chats": [{"session_id": "s1"} | fields]}))
    with pytest.raises(DraftsUnreadable):
        Drafts(path).read()
