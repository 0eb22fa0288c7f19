"""The chats of the running application: what each holds, how a message is sent and its answer stored.

Owns chats and their queues (`Chats`), answers under way (`Answers`), the path of one message (`ChatSession`),
drafts on disk, and export as Markdown. `ChatBackend` says what it needs of an engine and a store. What the
first screen does not need is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.chats.chat import Chat, ChatsListener, ChatState
from stevemin_chat.chats.entry import Entry, ending
from stevemin_chat.doors import lazy

if TYPE_CHECKING:
    from stevemin_chat.chats.answering import Answers
    from stevemin_chat.chats.chats import Chats
    from stevemin_chat.chats.drafts import Drafts, KeptDraft
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
    "KeptDraft",
    "SessionSettings",
    "TextSource",
    "TextStream",
    "branch_as_markdown",
    "ending",
    "undisturbed",
]

if not TYPE_CHECKING:
    __getattr__ = lazy(
        __name__,
        {
            "answering": "Answers",
            "chats": "Chats",
            "drafts": "Drafts KeptDraft",
            "export": "branch_as_markdown",
            "ports": "ChatBackend SessionSettings TextSource TextStream",
            "reply_writer": "undisturbed",
            "session": "ChatError ChatSession",
        },
    )
