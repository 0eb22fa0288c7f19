"""The chats of the running application: what each holds, how a message is sent and its answer stored.

Owns chats and their queues (`Chats`), answers under way (`Answers`), the path of one message (`ChatSession`),
drafts on disk, and export as Markdown. `ChatBackend` says what it needs of an engine and a store. What the
first screen does not need is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from stevemin_chat.chats.chat import Chat, ChatsListener, ChatState
from stevemin_chat.chats.entry import Entry

if TYPE_CHECKING:
    from stevemin_chat.chats.answering import Answers
    from stevemin_chat.chats.chats import Chats
    from stevemin_chat.chats.drafts import Drafts
    from stevemin_chat.chats.export import branch_as_markdown
    from stevemin_chat.chats.ports import ChatBackend, SessionSettings, TextSource, TextStream
    from stevemin_chat.chats.reply_writer import undisturbed
    from stevemin_chat.chats.session import ChatError, ChatSession

__all__ = [
    "Answers",
    "Chat",
    "ChatBackend",
    "ChatError",
    "ChatSession",
    "ChatState",
    "Chats",
    "ChatsListener",
    "Drafts",
    "Entry",
    "SessionSettings",
    "TextSource",
    "TextStream",
    "branch_as_markdown",
    "undisturbed",
]

_LATER = {
    "Answers": "answering",
    "ChatBackend": "ports",
    "ChatError": "session",
    "ChatSession": "session",
    "Chats": "chats",
    "Drafts": "drafts",
    "SessionSettings": "ports",
    "TextSource": "ports",
    "TextStream": "ports",
    "branch_as_markdown": "export",
    "undisturbed": "reply_writer",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value
