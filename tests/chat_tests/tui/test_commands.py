from __future__ import annotations

import pytest

from stevemin_chat.tui.actions import COMMANDS, Message, Run, Unknown, complete, find, parse


@pytest.mark.parametrize(
    "text",
    ["hello", "/usr/bin/env", "/etc/hosts\nis a file", "/new\nline", "1/2", "/tmp is full?\nyes", "/123"],
)
def test_what_is_not_a_command_is_a_message(text: str) -> None:
    assert parse(text) == Message(text)


def test_two_slashes_send_one() -> None:
    assert parse("//help me") == Message("/help me")


@pytest.mark.parametrize(
    ("text", "name", "args"),
    [
        ("/new", "new", ""),
        ("/NEW  A title ", "new", "A title"),
        ("/exit", "quit", ""),
        ("/system be brief\nand kind", "system", "be brief\nand kind"),
        ("/model ~/models/x.gguf", "model", "~/models/x.gguf"),
    ],
)
def test_commands_with_what_follows(text: str, name: str, args: str) -> None:
    meant = parse(text)
    assert isinstance(meant, Run)
    assert (meant.command.name, meant.args) == (name, args)


@pytest.mark.parametrize(
    ("text", "near"), [("/modle", "model"), ("/regenrate", "regenerate"), ("/zzzz", None)]
)
def test_unknown_commands_suggest_the_nearest(text: str, near: str | None) -> None:
    assert parse(text) == Unknown(text[1:], near)


def test_completion_is_by_prefix_and_only_for_commands() -> None:
    assert [command.name for command in complete("/re")] == ["rename", "regenerate"]
    assert complete("/") == list(COMMANDS)
    assert complete("re") == []
    assert complete("/model ") == []


def test_names_and_keys_are_unique_and_every_command_says_what_it_does() -> None:
    names = [command.name for command in COMMANDS]
    keys = [key for command in COMMANDS for key in command.key.split(",") if key]
    assert len(names) == len(set(names))
    assert len(keys) == len(set(keys))
    assert all(command.help.endswith(".") and command.title for command in COMMANDS)
    assert find("RENAME") is not None
