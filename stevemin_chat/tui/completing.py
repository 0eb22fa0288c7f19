"""What the prompt offers while a slash command is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memory import STRATEGIES
from stevemin_chat.tui.actions import Command, complete, find

if TYPE_CHECKING:
    from stevemin_chat.tui.chat_screen import ChatScreen

__all__ = ["completions_for"]

Row = tuple[str, str, str]

_ARGUMENTS_FOR = ("model", "context", "memory", "theme", "sessions", "copy")


def completions_for(text: str, screen: ChatScreen) -> list[Row]:
    """Rows of (text to insert, what is shown, explanation)."""
    rows = [
        (f"/{c.name}{' ' if _wants(c.args) else ''}", f"/{c.name} {c.args}".strip(), c.help)
        for c in complete(text)
    ]
    if rows:
        return rows
    name, space, typed = text.partition(" ")
    command = find(name[1:]) if name.startswith("/") and space and "\n" not in text else None
    if command is None or command.name not in _ARGUMENTS_FOR:
        return []
    wanted = typed.strip().lower()
    values = _words_below(command) if command.below else dict.fromkeys(_values(command.name, screen), "")
    if any(wanted == value.lower() for value in values):
        return []  # enter takes it as it stands, not a longer one
    return [
        (f"/{command.name} {value}", value, words)
        for value, words in values.items()
        if value.lower().startswith(wanted) or (wanted in value.lower() and not command.below)
    ]


def _wants(args: str) -> bool:
    return bool(args) and not args.startswith("[")


def _words_below(command: Command) -> dict[str, str]:
    """Subcommands with what they do; those that want more end with a space."""
    words: dict[str, str] = {}
    for below in command.below:
        words |= {f"{below.name} {value}": meaning for value, meaning in below.values}
        if not below.values:
            words[below.name + (" " if below.args else "")] = below.help
    return words


def _values(name: str, screen: ChatScreen) -> list[str]:
    if name == "model":
        return [spec.name for spec in screen.runtime.catalogue]
    if name == "context":
        return list(STRATEGIES)
    if name == "theme":
        return sorted(screen.app.available_themes)
    if name == "copy":
        return ["code"]
    return [chat.title for chat in screen.chats.all if chat.title and "\n" not in chat.title]
