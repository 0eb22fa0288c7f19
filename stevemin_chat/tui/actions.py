"""One table of actions: it feeds the slash commands, palette, key bindings and help."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

__all__ = [
    "COMMANDS",
    "KEYS",
    "Command",
    "Message",
    "Run",
    "Subcommand",
    "Unknown",
    "complete",
    "find",
    "parse",
]


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A word that may follow a command, with a handler of its own (`COMMAND_NAME`).

    Args:
        args: what has to follow; empty when nothing may.
        help: one line.
        values: what may follow with what it means, where that is known.
    """

    name: str
    args: str
    help: str
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """Something a person can do.

    Args:
        name: the slash command without its slash, and the name of the handler (`command_NAME`).
        title: as the command palette shows it.
        help: one line.
        args: what may follow, as the help shows it; empty when nothing may.
        key: Textual key names, the first one is shown; empty when there is no key.
        label: what the footer calls it; empty keeps it out of the footer.
        group: heading in the help screen.
        lines: the argument may have several lines.
        below: the words that may follow.
    """

    name: str
    title: str
    help: str
    args: str = ""
    key: str = ""
    label: str = ""
    group: str = "Chats"
    lines: bool = False
    below: tuple[Subcommand, ...] = ()


_MEMORY = (
    Subcommand("search", "TEXT", "Find what was said, in any chat."),
    Subcommand("forget", "", "Forget the last exchange of this chat, after asking."),
    Subcommand("off", "", "Take this chat off the record."),
    Subcommand("on", "", "Put this chat on the record again."),
    Subcommand(
        "scope",
        "WHERE",
        "How far this chat's memory reaches.",
        (
            ("everywhere", "All chats may recall this one, and it recalls them."),
            ("project", "Only chats of the same folder."),
            ("session", "Only this chat itself."),
        ),
    ),
    Subcommand("add", "TEXT", "Write something into your profile."),
)

COMMANDS: tuple[Command, ...] = (
    Command("new", "New chat", "Start a new chat.", "[title]", "ctrl+n", "New"),
    Command("rename", "Rename chat", "Give this chat another title.", "[title]", "f2"),
    Command("delete", "Delete chat", "Delete this chat, after asking.", key="f8"),
    Command(
        "sessions", "Go to the chats", "Move to the list of chats, or open one by title.", "[title]", "f3"
    ),
    Command("next", "Next chat", "Open the chat below in the list.", key="alt+down,ctrl+down"),
    Command("previous", "Previous chat", "Open the chat above in the list.", key="alt+up,ctrl+up"),
    Command("stop", "Stop the answer", "Stop the answer; its text stays.", key="escape", group="Answers"),
    Command(
        "regenerate",
        "Answer again",
        "Ask for another answer to your last message.",
        key="ctrl+r",
        label="Again",
        group="Answers",
    ),
    Command(
        "unqueue",
        "Take queued messages back",
        "Take back the messages that wait to be sent.",
        group="Answers",
    ),
    Command(
        "copy",
        "Copy the answer",
        "Copy the last answer, or only its last code block.",
        "[code]",
        "alt+c",
        group="Answers",
    ),
    Command(
        "end", "Go to the end", "Jump to the newest text and follow it.", key="ctrl+end", group="Answers"
    ),
    Command(
        "model",
        "Choose a model",
        "Load another model: a name, a .gguf file, or OWNER/REPO:FILE.",
        "[name]",
        "ctrl+o",
        "Model",
        group="Model",
    ),
    Command("cancel", "Cancel the model load", "Stop loading a model.", group="Model"),
    Command(
        "system",
        "System prompt",
        "What the model is told before this chat; without text, edit it.",
        "[text]",
        group="Model",
        lines=True,
    ),
    Command(
        "context",
        "What the model saw",
        "Show what of the past went into the last prompt; with a name, change the strategy.",
        "[strategy]",
        "f4",
        group="Memory",
    ),
    Command(
        "memory",
        "Memory",
        "What is remembered of you and of all chats: look, search, correct, forget.",
        "[what]",
        "f5",
        group="Memory",
        below=_MEMORY,
    ),
    Command(
        "list",
        "Show or hide the chats",
        "Fold the list of chats away.",
        key="ctrl+l",
        label="Chats",
        group="Screen",
    ),
    Command(
        "panel",
        "Show or hide the figures",
        "Fold the panel with the engine's figures away.",
        key="ctrl+g",
        label="Figures",
        group="Screen",
    ),
    Command(
        "theme",
        "Theme",
        "Change the colours for this run; config.toml keeps a choice.",
        "[name]",
        group="Screen",
    ),
    Command("help", "Help", "Show keys and commands.", key="f1", label="Help", group="Screen"),
    Command("quit", "Quit", "Store what was written and leave.", key="ctrl+q", label="Quit", group="Screen"),
)

KEYS: tuple[tuple[str, str], ...] = (
    ("enter", "send; while an answer is being written, queue"),
    ("ctrl+j, shift+enter", "new line"),
    ("↑ in an empty prompt", "take a queued message back, or recall what you sent"),
    ("tab", "complete a command"),
    ("pageup, pagedown", "scroll the chat"),
    ("esc", "close a list, or stop the answer"),
    ("ctrl+p", "command palette"),
    ("ctrl+c", "copy the selection, or stop the answer"),
)

_COMMAND = re.compile(r"/([A-Za-z]*)(?:\s+(.*))?", re.DOTALL)
_ALIASES = {"exit": "quit", "retry": "regenerate", "switch": "sessions", "?": "help"}


@dataclass(frozen=True, slots=True)
class Message:
    """A text for the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """A command and what followed it."""

    command: Command
    args: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Looks like a command, but is none; `near` is the likeliest meant one."""

    name: str
    near: str | None


def find(name: str) -> Command | None:
    """The command of that name."""
    name = _ALIASES.get(name.lower(), name.lower())
    return next((command for command in COMMANDS if command.name == name), None)


def parse(text: str) -> Message | Run | Unknown:
    """What a person meant by the text in the prompt.

    `//text` is the message `/text`; paths and texts of several lines that start with a slash are messages.
    """
    stripped = text.strip()
    if stripped.startswith("//"):
        return Message(stripped[1:])
    found = _COMMAND.fullmatch(stripped)
    if not found:
        return Message(stripped)
    name, args = found[1], (found[2] or "").strip()
    command = find(name)
    if "\n" in stripped and not (command and command.lines):
        return Message(stripped)
    if not command:
        near = difflib.get_close_matches(name.lower(), [*(c.name for c in COMMANDS), *_ALIASES], n=1)
        return Unknown(name, near[0] if near else None)
    return Run(command, args)


def complete(text: str) -> list[Command]:
    """Commands that a half-typed slash command may become; none when `text` is something else."""
    if not re.fullmatch(r"/[A-Za-z]*", text):
        return []
    typed = text[1:].lower()
    return [command for command in COMMANDS if command.name.startswith(typed)]
