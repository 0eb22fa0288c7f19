"""Which chats hear of each other. Every method runs on the database's thread."""

from __future__ import annotations

from memory.database import Database

__all__ = ["Scopes"]

# Two chats hear of each other if the scopes of both reach the other one.
_VISIBLE = """
    SELECT other.id FROM sessions AS other JOIN sessions AS mine ON mine.id = ?
    WHERE other.id = mine.id
        OR (other.scope = 'everywhere' AND mine.scope = 'everywhere')
        OR (other.scope <> 'session' AND mine.scope <> 'session' AND other.project = mine.project)
"""


class Scopes:
    """How far the memory of each session reaches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def visible_to(self, session_id: str | None) -> frozenset[str] | None:
        """The sessions that one may hear of, itself included; None is no limit: the usual case.

        Args:
            session_id: None stands for the person, who sees everything.
        """
        if session_id is None or not self._any_limited():
            return None
        return frozenset(row["id"] for row in self._database.query(_VISIBLE, (session_id,)))

    def _any_limited(self) -> bool:
        return bool(self._database.query("SELECT 1 FROM sessions WHERE scope <> 'everywhere' LIMIT 1"))
