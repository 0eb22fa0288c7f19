"""The sessions and their titles. Every method runs on the database's thread."""

from __future__ import annotations

import re
import secrets

from memory.errors import InvalidTitle, SessionNotFound
from memory.storage.database import Database, Row, Value, now
from memory.text import clean_title, storable, title_from, title_key
from memory.types import KEEP, Keep, Scope, SessionRecord

__all__ = ["NEW_TITLE", "Sessions"]

NEW_TITLE = "New chat"
_PREFIX = re.compile(r"[0-9a-f]{4,8}", re.IGNORECASE)
_SELECT = """
    SELECT sessions.*, (SELECT count(*) FROM messages WHERE session_id = sessions.id) AS message_count
    FROM sessions
"""


class Sessions:
    """Creates, finds, changes and deletes sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, title: str | None, model: str | None, strategy: str | None, project: str | None = None
    ) -> SessionRecord:
        """Create a session; without a title its first question names it. Raises `InvalidTitle`."""
        name = NEW_TITLE if title is None else _checked(title)
        at = now()
        with self._database.atomic():
            session_id = self._free_id()
            self._database.execute(
                "INSERT INTO sessions"
                " (id, title, title_key, titled, created_at, updated_at, model, strategy, project)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (session_id, name, title_key(name), int(title is not None), at, at, model, strategy, project),
            )
            return self.get(session_id)

    def all(self) -> list[SessionRecord]:
        """All sessions, newest activity first."""
        rows = self._database.query(f"{_SELECT} ORDER BY updated_at DESC, number DESC")
        return [_record(row) for row in rows]

    def get(self, session_id: str) -> SessionRecord:
        """By id only. Raises `SessionNotFound`."""
        row = self._database.query_one(f"{_SELECT} WHERE id = ?", (session_id,))
        if row is None:
            raise SessionNotFound(session_id)
        return _record(row)

    def find(self, id_or_title: str) -> SessionRecord | None:
        """By id, else by title (the newest of several), else by a unique prefix of an id."""
        order = "ORDER BY updated_at DESC, number DESC LIMIT 1"
        for where, value in (("id = ?", id_or_title.lower()), ("title_key = ?", title_key(id_or_title))):
            row = self._database.query_one(f"{_SELECT} WHERE {where} {order}", (value,))
            if row is not None:
                return _record(row)
        if not _PREFIX.fullmatch(id_or_title):
            return None
        rows = self._database.query(f"{_SELECT} WHERE id GLOB ? LIMIT 2", (f"{id_or_title.lower()}*",))
        return _record(rows[0]) if len(rows) == 1 else None

    def require(self, id_or_title: str) -> SessionRecord:
        """As `find`, but raises `SessionNotFound`, which suggests the nearest title."""
        record = self.find(id_or_title)
        if record is None:
            rows = self._database.query(
                "SELECT title AS name FROM sessions UNION ALL SELECT id FROM sessions"
            )
            raise SessionNotFound(id_or_title, [row["name"] for row in rows])
        return record

    def rename(self, session_id: str, title: str) -> SessionRecord:
        """Raises `SessionNotFound`, `InvalidTitle`."""
        name = _checked(title)
        return self._update(session_id, {"title": name, "title_key": title_key(name), "titled": 1})

    def set(
        self,
        session_id: str,
        *,
        model: str | Keep | None = KEEP,
        strategy: str | Keep | None = KEEP,
        system_prompt: str | Keep | None = KEEP,
        scope: Scope | Keep = KEEP,
    ) -> SessionRecord:
        """Change a session's own choices. Raises `SessionNotFound`."""
        wanted = {"model": model, "strategy": strategy, "system_prompt": system_prompt, "scope": scope}
        changes: dict[str, Value] = {
            name: storable(value) if value is not None else None
            for name, value in wanted.items()
            if not isinstance(value, Keep)
        }
        return self._update(session_id, changes)

    def set_off_record(self, session_id: str, off_record: bool) -> SessionRecord:
        """Change the mark only; the caller deletes the memories."""
        return self._update(session_id, {"off_record": int(off_record)})

    def clear_title_from(self, session_id: str, text: str) -> None:
        """Drop a title that was made from this text; the first remaining question gives a new one."""
        if self.get(session_id).title == title_from(text):
            self._retitle(session_id)

    def mentioning(self, text: str) -> tuple[SessionRecord, ...]:
        """The sessions with this text, whatever its case, in the title or in the system prompt."""
        wanted = text.casefold()
        return tuple(record for record in self.all() if _mentions(record, wanted))

    def clear_mentions(self, session_id: str, text: str) -> None:
        """Drop a title and a system prompt that contain this text, whatever its case."""
        record, wanted = self.get(session_id), text.casefold()
        if wanted in record.title.casefold():
            self._retitle(session_id, without=wanted)
        if wanted in (record.system_prompt or "").casefold():
            self._update(session_id, {"system_prompt": None})

    def _retitle(self, session_id: str, *, without: str = "") -> None:
        """Name a session by its first remaining question, or not at all if that contains a text."""
        row = self._database.query_one(
            "SELECT content FROM messages WHERE session_id = ? AND role = 'user' AND NOT forgotten"
            " ORDER BY number LIMIT 1",
            (session_id,),
        )
        title = title_from(row["content"]) if row is not None else ""
        if without and without in title.casefold():
            title = ""
        name = title or NEW_TITLE
        self._update(session_id, {"title": name, "title_key": title_key(name), "titled": int(bool(title))})

    def delete(self, session_id: str) -> None:
        """Delete a session with all its messages."""
        with self._database.atomic():
            self.get(session_id)
            # One statement for the whole tree: a cascade along parents would be as deep as the chat
            # is long, and SQLite stops at 1,000.
            self._database.execute("UPDATE sessions SET head_id = NULL WHERE id = ?", (session_id,))
            self._database.execute("DELETE FROM messages WHERE session_id = ?", (session_id,))
            self._database.execute("DELETE FROM sessions WHERE id = ?", (session_id,))

    def touch(self, session_id: str, *, head_id: str | None = None, question: str | None = None) -> None:
        """Record activity, move the head, and let a question name a session that has no title yet."""
        changes: dict[str, Value] = {} if head_id is None else {"head_id": head_id}
        title = title_from(question) if question is not None else ""
        if title and not self._is_titled(session_id):
            changes |= {"title": title, "title_key": title_key(title), "titled": 1}
        self._update(session_id, {**changes, "updated_at": now()})

    def _is_titled(self, session_id: str) -> bool:
        row = self._database.query_one("SELECT titled FROM sessions WHERE id = ?", (session_id,))
        return bool(row and row["titled"])

    def _update(self, session_id: str, changes: dict[str, Value]) -> SessionRecord:
        assignments = ", ".join(f"{name} = ?" for name in ("id", *changes))
        with self._database.atomic():
            self._database.execute(
                f"UPDATE sessions SET {assignments} WHERE id = ?", (session_id, *changes.values(), session_id)
            )
            return self.get(session_id)

    def _free_id(self) -> str:
        while True:
            session_id = secrets.token_hex(4)
            if self._database.query_one("SELECT 1 FROM sessions WHERE id = ?", (session_id,)) is None:
                return session_id


def _checked(title: str) -> str:
    name = clean_title(title)
    if not name:
        raise InvalidTitle("A title needs at least one visible character.")
    return name


def _mentions(record: SessionRecord, wanted: str) -> bool:
    return wanted in record.title.casefold() or wanted in (record.system_prompt or "").casefold()


def _record(row: Row) -> SessionRecord:
    values = {name: row[name] for name in SessionRecord.__dataclass_fields__}
    return SessionRecord(**values | {"off_record": bool(row["off_record"])})
