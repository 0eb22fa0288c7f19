"""The table of commands, each registered beside its handler: it feeds slash commands, palette, key bindings
and help. A handler takes the controller and what follows the command; it runs only once a controller is
attached to the screen. Nothing heavy is imported here: the table is needed before the first paint.
"""

from __future__ import annotations

from stevemin_chat.tui.actions import answers, chats, documents, memory, model, screen
from stevemin_chat.tui.commands import Command

__all__ = ["COMMANDS", "KEYS"]

COMMANDS: tuple[Command, ...] = (
    *chats.COMMANDS,
    *answers.COMMANDS,
    *model.COMMANDS,
    *memory.COMMANDS,
    *documents.COMMANDS,
    *screen.COMMANDS,
)

KEYS: tuple[tuple[str, str], ...] = (
    ("enter", "send; while an answer is being written, queue"),
    ("ctrl+j, shift+enter, alt+enter", "new line"),
    ("↑ in an empty prompt", "take a queued message back, or recall what you sent"),
    ("tab", "complete a command"),
    ("pageup, pagedown", "scroll the chat"),
    ("esc", "close a list, or stop the answer"),
    ("ctrl+p", "command palette"),
    ("ctrl+c", "copy the selection, or stop the answer"),
)
