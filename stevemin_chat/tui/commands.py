"""What a command is, and which command a text in the prompt names. `actions` is the table of all commands."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "Command",
    "Handler",
    "Message",
    "Offer",
    "Run",
    "Subcommand",
    "Table",
    "Values",
    "Words",
    "Wrong",
    "find",
    "offers",
    "parse",
]

Handler = Callable[[Any, str], Coroutine[Any, Any, None] | None]
"""Takes the controller and what follows the command."""

H = TypeVar("H", bound=Handler)

Values = Callable[[Any], Sequence[str]]
"""Takes the controller and gives what may follow a command."""


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A word that may follow a command.

    Args:
        args: what follows it, as the help shows it: `[optional]` in brackets; empty when nothing may.
        help: one line.
        lines: the argument may have several lines.
        values: known arguments with their meaning.
    """

    name: str
    args: str
    help: str
    handler: Handler
    lines: bool = False
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """Something a person can do.

    Args:
        name: the slash command without its slash.
        title: as the command palette shows it.
        help: one line.
        args: what may follow, as the help shows it; empty when nothing may.
        key: Textual key names, separated by commas; the help shows the first.
        label: the footer's word for it; empty keeps it out of the footer.
        group: heading in the help screen.
        lines: the argument may have several lines.
        values: lists known arguments, for completion.
        below: the words that may follow.
    """

    name: str
    title: str
    help: str
    handler: Handler
    args: str = ""
    key: str = ""
    label: str = ""
    group: str = "Chats"
    lines: bool = False
    values: Values | None = None
    below: tuple[Subcommand, ...] = ()


class Table:
    """Collects commands; each is registered by decorating its handler.

    Args:
        group: the commands' heading in the help screen.
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._commands: list[Command] = []

    @property
    def commands(self) -> tuple[Command, ...]:
        """In the order of their handlers."""
        return tuple(self._commands)

    def command(
        self,
        name: str,
        title: str,
        help: str,
        args: str = "",
        *,
        key: str = "",
        label: str = "",
        lines: bool = False,
        values: Values | None = None,
        below: Sequence[Subcommand] = (),
    ) -> Callable[[H], H]:
        """Register the decorated function; see `Command`."""

        def register(handler: H) -> H:
            command = Command(
                name, title, help, handler, args, key, label, self._group, lines, values, tuple(below)
            )
            self._commands.append(command)
            return handler

        return register


class Words:
    """Collects the words that may follow a command; each is registered by decorating its handler."""

    def __init__(self) -> None:
        self.words: list[Subcommand] = []

    def word(
        self, name: str, args: str, help: str, *, lines: bool = False, values: Sequence[tuple[str, str]] = ()
    ) -> Callable[[H], H]:
        """Register the decorated function; see `Subcommand`."""

        def register(handler: H) -> H:
            self.words.append(Subcommand(name, args, help, handler, lines, tuple(values)))
            return handler

        return register


@dataclass(frozen=True, slots=True)
class Message:
    """A text for the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """A command, or a subcommand, with what follows it."""

    command: Command | Subcommand
    args: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """A command that cannot be carried out; the notice says why."""

    notice: str


class Offer(NamedTuple):
    """One row of the completion list.

    Args:
        text: what the prompt takes over; ends with a space where an argument follows.
        label: what the list shows.
    """

    text: str
    label: str
    help: str = ""


_COMMAND = re.compile(r"/(\?|[A-Za-z]*)(?:\s+(.*))?", re.DOTALL)
_ALIASES = {"exit": "quit", "retry": "regenerate", "switch": "chats", "sessions": "chats", "?": "help"}


def find(name: str, table: Sequence[Command]) -> Command | None:
    """The command of that name."""
    name = _ALIASES.get(name.lower(), name.lower())
    return next((command for command in table if command.name == name), None)


def parse(text: str, table: Sequence[Command]) -> Message | Run | Wrong:
    """What the text in the prompt means.

    The first word decides: a command of several lines is never a message, known or not, unless other words
    follow on its first line that no command has. `//text` is the message `/text`, and so are paths.
    """
    stripped = text.strip()
    if stripped.startswith("//"):
        return Message(stripped[1:])
    found = _COMMAND.fullmatch(stripped)
    if not found:
        return Message(stripped)
    name, args = found[1], (found[2] or "").strip()
    command = find(name, table)
    if command is not None:
        return (
            _below(command, args) if command.below and args else _checked(command, f"/{command.name}", args)
        )
    near = _nearest(name, [*(command.name for command in table), *_ALIASES]) or _above(name, table)
    if near is None and "\n" in stripped and " " in stripped.partition("\n")[0]:
        return Message(stripped)  # a sentence about /tmp, say
    return Wrong(f"There is no command /{name}. {f'Did you mean /{near}?' if near else '/help lists them.'}")


def _above(name: str, table: Sequence[Command]) -> str | None:
    """The command below another one that has this name, written out: `memory add`."""
    for command in table:
        if near := _nearest(name, [below.name for below in command.below]):
            return f"{command.name} {near}"
    return None


def _below(command: Command, args: str) -> Run | Wrong:
    word, *rest = args.split(None, 1)
    known = {below.name: below for below in command.below}
    below = known.get(word.lower())
    if below is not None:
        return _checked(below, f"/{command.name} {below.name}", rest[0].strip() if rest else "")
    near = _nearest(word, list(known))
    hint = f"Did you mean /{command.name} {near}?" if near else f"Known: {', '.join(known)}."
    return Wrong(f"There is no /{command.name} {word}. {hint}")


def _checked(command: Command | Subcommand, name: str, args: str) -> Run | Wrong:
    if args and not command.args:
        return Wrong(f"{name} takes no argument.")
    if "\n" in args and not command.lines:
        return Wrong(f"{name} takes one line. To send the text as a message, start it with //.")
    if not args and command.args and not command.args.startswith("["):
        return Wrong(f"{name} needs a {command.args.lower()}.")
    return Run(command, args)


def _nearest(word: str, known: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(word.lower(), known, n=1)
    return near[0] if near else None


def offers(
    text: str, table: Sequence[Command], values: Callable[[Command], Sequence[str]]
) -> tuple[Offer, ...]:
    """What a half-typed command may become.

    Args:
        values: lists the known arguments of a command.
    """
    name, space, typed = text.partition(" ")
    if not name.startswith("/") or "\n" in text:
        return ()
    if not space:
        typed = name[1:].lower()
        return tuple(_named(command) for command in table if command.name.startswith(typed))
    command = find(name[1:], table)
    if command is None:
        return ()
    arguments = dict(_words(command)) if command.below else dict.fromkeys(values(command), "")
    return tuple(
        Offer(f"/{command.name} {argument}", argument, meaning)
        for argument, meaning in _matching(arguments, typed.strip().lower(), inside=not command.below)
    )


def _named(command: Command) -> Offer:
    needs = bool(command.args) and not command.args.startswith("[")
    return Offer(
        f"/{command.name}{' ' if needs else ''}", f"/{command.name} {command.args}".strip(), command.help
    )


def _words(command: Command) -> Iterator[tuple[str, str]]:
    for below in command.below:
        for value, meaning in below.values:
            yield f"{below.name} {value}", meaning
        if not below.values:
            yield below.name + (" " if below.args else ""), below.help


def _matching(arguments: Mapping[str, str], typed: str, *, inside: bool) -> list[tuple[str, str]]:
    if any(typed == argument.lower() for argument in arguments):
        return []  # Enter takes the argument as typed, not a longer one
    return [
        (argument, meaning)
        for argument, meaning in arguments.items()
        if argument.lower().startswith(typed) or (inside and typed in argument.lower())
    ]
