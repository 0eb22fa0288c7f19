"""The profile: facts about the user, across sessions. Every method runs on the database's thread."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection

from memory.errors import FactNotFound, InvalidFact, MessageNotFound
from memory.storage.database import Database, Row, now
from memory.text import clean_title
from memory.types import Fact, FactKind

__all__ = ["Facts", "fact_key"]

_SELECT = "SELECT id, text, kind, message_id, pinned, edited, created_at FROM facts"
_STRAIGHT = str.maketrans("\u2019\u2018“”", "''\"\"")


class Facts:
    """Stores facts: one line each, with the message that stated it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, text: str, kind: FactKind, message_id: str | None = None) -> Fact:
        """Record a fact; if an equal one exists, return that with its own source.

        Args:
            message_id: the message that stated it; None when the user writes it into the profile.

        Raises:
            InvalidFact: the text has no visible character.
            MessageNotFound: the message has been deleted or forgotten.
        """
        line = _checked(text)
        with self._database.atomic():
            if message_id is not None:
                self._check_source(message_id)
            known = self._same(line)
            if known is not None:
                return known
            rows = self._database.query(
                "INSERT INTO facts (text, kind, message_id, created_at) VALUES (?, ?, ?, ?) RETURNING id",
                (line, kind, message_id, now()),
            )
            return self.get(rows[0]["id"])

    def list(self, visible: Collection[str] | None = None) -> tuple[Fact, ...]:
        """Pinned facts first, then the newest.

        Args:
            visible: only facts stated in these sessions, and those the user wrote; None: all.
        """
        where, value = "", tuple[str, ...]()
        if visible is not None:
            where = (
                "WHERE message_id IS NULL OR message_id IN (SELECT id FROM messages WHERE session_id IN"
                " (SELECT value FROM json_each(?)))"
            )
            value = (json.dumps(sorted(visible)),)
        rows = self._database.query(f"{_SELECT} {where} ORDER BY pinned DESC, id DESC", value)
        return tuple(_fact(row) for row in rows)

    def get(self, fact_id: int) -> Fact:
        """Raises `FactNotFound`."""
        row = self._database.query_one(f"{_SELECT} WHERE id = ?", (fact_id,))
        if row is None:
            raise FactNotFound(fact_id)
        return _fact(row)

    def edit(self, fact_id: int, text: str) -> Fact:
        """Reword a fact; its source stays. Raises `FactNotFound`, `InvalidFact`."""
        line = _checked(text)
        with self._database.atomic():
            if line != self.get(fact_id).text:
                self._database.execute("UPDATE facts SET text = ?, edited = 1 WHERE id = ?", (line, fact_id))
            return self.get(fact_id)

    def pin(self, fact_id: int) -> Fact:
        """Put a fact into every prompt. Raises `FactNotFound`."""
        return self._set_pinned(fact_id, True)

    def unpin(self, fact_id: int) -> Fact:
        """Raises `FactNotFound`."""
        return self._set_pinned(fact_id, False)

    def remove(self, fact_id: int) -> None:
        """Raises `FactNotFound`. The next checkpoint erases the text from the file."""
        if not self._database.execute("DELETE FROM facts WHERE id = ?", (fact_id,)):
            raise FactNotFound(fact_id)

    def made_from(self, message_id: str) -> tuple[Fact, ...]:
        """The facts that this message stated, edited ones included, oldest first."""
        rows = self._database.query(f"{_SELECT} WHERE message_id = ? ORDER BY id", (message_id,))
        return tuple(_fact(row) for row in rows)

    def remove_made_from(self, message_id: str) -> int:
        """Delete the facts that this message stated; returns how many."""
        return self._database.execute("DELETE FROM facts WHERE message_id = ?", (message_id,))

    def count(self) -> int:
        """The number of facts."""
        row = self._database.query_one("SELECT count(*) AS facts FROM facts")
        return int(row["facts"]) if row is not None else 0

    def _check_source(self, message_id: str) -> None:
        row = self._database.query_one("SELECT 1 FROM messages WHERE id = ? AND NOT forgotten", (message_id,))
        if row is None:
            raise MessageNotFound(message_id)

    def _same(self, line: str) -> Fact | None:
        wanted = fact_key(line)
        rows = self._database.query(f"{_SELECT} ORDER BY id")
        return next((_fact(row) for row in rows if fact_key(row["text"]) == wanted), None)

    def _set_pinned(self, fact_id: int, pinned: bool) -> Fact:
        with self._database.atomic():
            self._database.execute("UPDATE facts SET pinned = ? WHERE id = ?", (int(pinned), fact_id))
            return self.get(fact_id)


def fact_key(line: str) -> str:
    """Equal for lines that state the same: ignores case, closing marks and the style of quotes."""
    key = unicodedata.normalize("NFKC", line.translate(_STRAIGHT)).casefold()
    return key.rstrip(" .!,;:") or key


def _checked(text: str) -> str:
    line = clean_title(text)
    if not line:
        raise InvalidFact
    return line


def _fact(row: Row) -> Fact:
    return Fact(
        id=row["id"],
        text=row["text"],
        kind=row["kind"],
        message_id=row["message_id"],
        pinned=bool(row["pinned"]),
        edited=bool(row["edited"]),
        created_at=row["created_at"],
    )
