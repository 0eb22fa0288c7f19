"""Which messages a model has searched for facts. Every method runs on the database's thread."""

from __future__ import annotations

from memory.storage.database import Database
from memory.text import quoted_from_json
from memory.types import Message

__all__ = ["Readings"]


class Readings:
    """A model reads a message once. A message that is off the record, or forgotten, is read by none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unread(self, model: str, limit: int) -> tuple[Message, ...]:
        """What the user said that is remembered and that this model has not read, the newest first."""
        rows = self._database.query(
            "SELECT id, session_id, parent_id, role, content, status, created_at, quoted FROM messages"
            " WHERE role = 'user' AND EXISTS (SELECT 1 FROM passages WHERE message_id = messages.id)"
            " AND NOT EXISTS (SELECT 1 FROM fact_readings WHERE message_id = messages.id AND model = ?)"
            " ORDER BY number DESC LIMIT ?",
            (model, limit),
        )
        return tuple(Message(**{**dict(row), "quoted": quoted_from_json(row["quoted"])}) for row in rows)

    def mark(self, message_id: str, model: str) -> bool:
        """Record that a model has read a message; False if it has already, or the message is not remembered
        any more."""
        return bool(
            self._database.execute(
                "INSERT OR IGNORE INTO fact_readings SELECT message_id, ? FROM passages"
                " WHERE message_id = ? LIMIT 1",
                (model, message_id),
            )
        )
