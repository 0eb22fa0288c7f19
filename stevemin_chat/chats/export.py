"""A chat as Markdown, to read in a terminal or paste elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stevemin_chat.chats.entry import ending
from stevemin_chat.text import minute, sanitize, speaker

if TYPE_CHECKING:
    from memory import Message, SessionRecord

__all__ = ["branch_as_markdown"]


def branch_as_markdown(record: SessionRecord, messages: Sequence[Message]) -> str:
    """The messages of one branch, oldest first; free of terminal control sequences."""
    parts = [f"# {record.title}", f"{record.id}, {minute(record.created_at)} UTC"]
    if record.system_prompt:
        parts += ["## System", record.system_prompt.strip()]
    for message in messages:
        parts += [
            f"## {_heading(message)}",
            message.content.strip() or ("*(forgotten)*" if message.forgotten else "*(empty)*"),
        ]
        if how := ending(message.status, message.error):
            parts.append(f"*({how})*")
    return sanitize("\n\n".join(parts) + "\n")


def _heading(message: Message) -> str:
    who = speaker(message.role).capitalize()
    model = f" ({message.model})" if message.model else ""
    return f"{who}{model}, {minute(message.created_at)}"
