"""What was typed and not sent, kept from one run to the next: drafts and queued messages."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stevemin_chat.chats.chat import Chat

__all__ = ["Drafts"]

_NEW = ""  # stands for a chat that is not stored


class Drafts:
    """A small file beside the database; its trouble never stops a chat."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: dict[str, dict[str, Any]] = {}

    def changes(self, chats: Sequence[Chat]) -> dict[str, dict[str, Any]] | None:
        """What is to be written; None when it is in the file already. Cheap, for the event loop."""
        kept = {
            chat.record.id if chat.record else _NEW: {"draft": chat.draft, "queue": list(chat.queue)}
            for chat in chats
            if chat.draft.strip() or chat.queue
        }
        return None if kept == self._written else kept

    def write(self, kept: dict[str, dict[str, Any]]) -> None:
        """Replace the file. Blocks.

        Raises:
            OSError: it cannot be written.
        """
        partial = self._path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(kept), encoding="utf-8")
        partial.chmod(0o600)
        partial.replace(self._path)
        self._written = kept

    def read(self) -> dict[str, str]:
        """Texts by session id, "" for a new chat; what was queued is a draft again. Blocks."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return {key: "\n".join([*chat["queue"], chat["draft"]]).strip() for key, chat in kept.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}
