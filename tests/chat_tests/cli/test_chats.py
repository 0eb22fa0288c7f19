"""`stevemin sessions`: the stored chats."""

from __future__ import annotations

from chat_tests.cli.cli_kit import Cli

from memory import Memory, Quoted
from stevemin_chat.base.paths import Paths


def test_sessions_are_listed_latest_first(cli: Cli, session_id: str) -> None:
    listed = cli("sessions", "list", "--json").json
    assert {entry["id"] for entry in listed} >= {session_id}
    assert listed[0]["title"] == "Other"
    assert "Trip to Rome" in cli("sessions", "list").out


def test_no_sessions_are_an_empty_list(cli: Cli) -> None:
    assert cli("sessions", "list", "--json").json == []
    assert cli("sessions", "list").out.splitlines() == ["ID  LAST USED (UTC)  MESSAGES  TITLE"]


def test_show_prints_clean_markdown(cli: Cli, session_id: str) -> None:
    out = cli("sessions", "show", session_id).out
    assert out.startswith("# Trip to Rome\n")
    for part in (
        "## System\n\nBe brief.",
        "## You, ",
        "What to see?",
        "## Assistant (smollm2-135m), ",
        "*(stopped)*",
    ):
        assert part in out
    assert "\x1b" not in out
    assert "owned" not in out


def test_show_in_json_has_the_messages_as_they_are(cli: Cli, session_id: str) -> None:
    shown = cli("sessions", "show", "other", "--json").json
    assert (shown["title"], shown["messages"]) == ("Other", [])
    messages = cli("sessions", "show", session_id, "--json").json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[1]["status"] == "cancelled"


def test_show_in_json_tells_what_was_pasted(cli: Cli, paths: Paths) -> None:
    with Memory(paths.database) as memory:
        chat = memory.create_session("Zoo")
        memory.add_message(chat.id, "user", "Look: zebra", quoted=[Quoted(6, 11, "pasted")])
    (message,) = cli("sessions", "show", "zoo", "--json").json["messages"]
    assert message["quoted"] == [{"start": 6, "end": 11, "origin": "pasted"}]


def test_delete_asks_first_and_deletes(cli: Cli, session_id: str) -> None:
    cli("sessions", "delete", session_id).failed("Delete the chat", "pass --yes", code=2)
    assert cli("sessions", "delete", session_id, stdin="\n", terminal=True).code == 1
    assert len(cli("sessions", "list", "--json").json) == 2
    assert cli("sessions", "delete", session_id, "--yes", "--json").json == {
        "id": session_id,
        "deleted": True,
    }
    assert len(cli("sessions", "list", "--json").json) == 1
    cli("sessions", "show", session_id).failed("No chat")
    cli("sessions", "delete", "Othr", "--yes").failed("Did you mean 'Other'?")


def test_a_database_that_is_none(cli: Cli, paths: Paths) -> None:
    paths.data.mkdir()
    paths.database.write_bytes(b"this is not a database, but long enough to look at" * 100)
    cli("sessions", "list").failed(str(paths.database))
