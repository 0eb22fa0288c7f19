"""The table of commands, and what a text in the prompt means."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stevemin_chat.tui.actions import COMMANDS
from stevemin_chat.tui.commands import Command, Message, Run, Subcommand, Wrong, find, offers, parse


def handlers() -> Iterator[Command | Subcommand]:
    """Everything that a person can call."""
    for command in COMMANDS:
        yield command
        yield from command.below


@pytest.mark.parametrize(
    "text",
    ["hello", "/usr/bin/env", "/etc/hosts\nis a file", "1/2", "/tmp is full?\nyes", "/123", "/tmp?\n- no"],
)
def test_what_is_not_a_command_is_a_message(text: str) -> None:
    assert parse(text, COMMANDS) == Message(text)


def test_two_slashes_send_one() -> None:
    assert parse("//help me", COMMANDS) == Message("/help me")
    assert parse("//new\nline", COMMANDS) == Message("/new\nline")


@pytest.mark.parametrize(
    ("text", "name", "args"),
    [
        ("/new", "new", ""),
        ("/NEW  A title ", "new", "A title"),
        ("/new\nA title", "new", "A title"),
        ("/exit", "quit", ""),
        ("/?", "help", ""),
        ("/system be brief\nand kind", "system", "be brief\nand kind"),
        ("/model ~/models/x.gguf", "model", "~/models/x.gguf"),
        ("/memory", "memory", ""),
        ("/memory Add likes tea", "add", "likes tea"),
        ("/memory add\nlikes tea\nand cake", "add", "likes tea\nand cake"),
        ("/memory search", "search", ""),
    ],
)
def test_commands_with_what_follows(text: str, name: str, args: str) -> None:
    meant = parse(text, COMMANDS)
    assert isinstance(meant, Run)
    assert (meant.command.name, meant.args) == (name, args)


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        ("/modle", "There is no command /modle. Did you mean /model?"),
        ("/regenrate", "There is no command /regenrate. Did you mean /regenerate?"),
        ("/zzzz", "There is no command /zzzz. /help lists them."),
        ("/zzzz\nmy PIN is 4711", "There is no command /zzzz. /help lists them."),
        ("/forget 3", "There is no command /forget. Did you mean /memory forget?"),
        ("/forget it\nmy PIN is 4711", "There is no command /forget. Did you mean /memory forget?"),
        ("/memroy add likes tea\nand cake", "There is no command /memroy. Did you mean /memory?"),
        ("/memory serach dog", "There is no /memory serach. Did you mean /memory search?"),
        ("/memory xyz", "There is no /memory xyz. Known: search, forget, off, on, scope, add."),
        ("/memory off now", "/memory off takes no argument."),
        ("/memory off\nnow", "/memory off takes no argument."),
        ("/memory add", "/memory add needs a text."),
        ("/cancel it", "/cancel takes no argument."),
        ("/rename one\ntwo", "/rename takes one line. To send the text as a message, start it with //."),
        ("/model a\nb", "/model takes one line. To send the text as a message, start it with //."),
    ],
)
def test_what_cannot_be_carried_out_says_why(text: str, notice: str) -> None:
    assert parse(text, COMMANDS) == Wrong(notice)


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_no_command_of_several_lines_is_ever_a_message(name: str) -> None:
    command = find(name, COMMANDS)
    assert command is not None
    words = ["", *(f" {below.name}" for below in command.below)]
    for word in words:
        assert not isinstance(parse(f"/{name}{word}\nline", COMMANDS), Message)
        assert not isinstance(parse(f"/{name}{word} one\n\ntwo", COMMANDS), Message)


def test_completion_is_by_prefix_and_only_for_commands() -> None:
    def offered(text: str) -> list[str]:
        return [offer.text for offer in offers(text, COMMANDS, lambda command: ["One", "two"])]

    assert offered("/re") == ["/rename", "/regenerate"]
    assert offered("/") == [f"/{command.name}" for command in COMMANDS]
    assert offered("re") == offered("/zzz") == offered("/re\n") == []
    assert offered("/model ") == ["/model One", "/model two"]
    assert offered("/model W") == ["/model two"], "also inside a name"
    assert offered("/model one") == [], "Enter takes it as it stands"
    assert offered("/memory s")[:1] == ["/memory search "]


def test_names_and_keys_are_unique_and_every_command_says_what_it_does() -> None:
    names = [command.name for command in COMMANDS]
    keys = [key for command in COMMANDS for key in command.key.split(",") if key]
    assert len(names) == len(set(names))
    assert len(keys) == len(set(keys))
    assert all(command.help.endswith(".") for command in handlers())
    assert all(command.title for command in COMMANDS)
    assert find("RENAME", COMMANDS) is not None


def test_every_entry_of_the_table_has_a_handler_of_its_own() -> None:
    found = [command.handler for command in handlers()]
    assert all(callable(handler) for handler in found)
    assert len(found) == len(set(found))
