"""The switches of long-term memory with their keys, and below how far its index is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from stevemin_chat.recall import SCOPE_WORDS, index_words

if TYPE_CHECKING:
    from stevemin_chat.chats import Chat
    from stevemin_chat.recall import Remembering

__all__ = ["MemoryStates"]


class MemoryStates(Static):
    """Two lines."""

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id, markup=False)

    def show(self, remembering: Remembering, chat: Chat, busy: str) -> None:
        """What holds now.

        Args:
            busy: what goes on that may take seconds; stands in place of the index.
        """
        scope = chat.scope or remembering.usual_scope
        switches = (
            ("x", "remembering", "on" if remembering.on else "off"),
            ("o", "this chat", "off the record" if chat.off_record else "on the record"),
            ("c", "reaches", SCOPE_WORDS[scope][0]),
        )
        line = Content("    ").join(
            Content.assemble((f"{key} ", "$primary"), (f"{what} ", "$foreground 60%"), state)
            for key, what, state in switches
        )
        below = (busy, "$accent") if busy else (index_words(remembering.index), "$foreground 50%")
        self.update(Content("\n").join([line, Content.styled(*below)]))
