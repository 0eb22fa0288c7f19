"""What the prompt offers while a slash command is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.commands import complete, find
from stevemin_chat.screens.model_commands import STRATEGY_WORDS

if TYPE_CHECKING:
    from stevemin_chat.screens.chat import ChatScreen

__all__ = ["completions_for"]

Row = tuple[str, str, str]

_ARGUMENTS_FOR = ("model", "context", "theme", "sessions", "copy")


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
    values = _values(command.name, screen)
    if any(wanted == value.lower() for value in values):
        return []  # enter takes it as it stands, not a longer one
    return [(f"/{command.name} {value}", value, "") for value in values if wanted in value.lower()]


def _wants(args: str) -> bool:
    return bool(args) and not args.startswith("[")


def _values(name: str, screen: ChatScreen) -> list[str]:
    if name == "model":
        return [spec.name for spec in screen.runtime.catalogue]
    if name == "context":
        return list(STRATEGY_WORDS)
    if name == "theme":
        return sorted(screen.app.available_themes)
    if name == "copy":
        return ["code"]
    return [chat.title for chat in screen.chats.all if chat.title and "\n" not in chat.title]
