"""The profile: facts about the user, across sessions. Every method runs on the database's thread."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Iterable
from datetime import date, datetime
from itertools import zip_longest

from memory.errors import FactNotFound, InvalidFact, MessageNotFound
from memory.storage.database import Database, Row, now
from memory.text import clean_title, day_meant, entities_in, entity_key
from memory.types import Entity, Fact, FactKind

__all__ = ["Facts", "fact_key"]

# A fact without a source was written by the user.
_SELECT = """
    SELECT id, text, kind, slot, pinned, edited, created_at, until,
        (SELECT json_group_array(message_id) FROM
            (SELECT message_id FROM fact_sources JOIN messages ON messages.id = message_id
                WHERE fact_id = facts.id ORDER BY messages.number)) AS sources,
        coalesce((SELECT max(messages.created_at) FROM fact_sources JOIN messages ON messages.id = message_id
            WHERE fact_id = facts.id), created_at) AS stated_at,
        coalesce((SELECT fact_sources.day FROM fact_sources JOIN messages ON messages.id = message_id
            WHERE fact_id = facts.id ORDER BY messages.created_at DESC, messages.number DESC LIMIT 1),
            day) AS day,
        (SELECT json_group_array(json_array(name, kind)) FROM
            (SELECT name, entities.kind FROM fact_entities JOIN entities ON entities.id = entity_id
                WHERE fact_id = facts.id ORDER BY position)) AS entities
    FROM facts
"""
_VISIBLE = """
    WHERE written OR EXISTS (
        SELECT 1 FROM fact_sources JOIN messages ON messages.id = message_id
        WHERE fact_id = facts.id AND session_id IN (SELECT value FROM json_each(?)))
"""
_STRAIGHT = str.maketrans("\u2019\u2018“”", "''\"\"")


class Facts:
    """Stores facts: one line each, with the messages that state it.

    Of the facts in one slot, such as where the user lives, the one that was stated last holds; it closes
    the others.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, text: str, kind: FactKind, message_id: str | None = None, slot: str | None = None) -> Fact:
        """Record a fact; an equal one gets another source instead.

        Args:
            message_id: the message that stated it; None when the user writes it into the profile.
            slot: what it tells, where only one such fact can be true at a time.

        Raises:
            InvalidFact: the text has no visible character.
            MessageNotFound: the message has been deleted or forgotten.
        """
        line = _checked(text)
        with self._database.atomic():
            said = self._said(message_id) if message_id is not None else now()
            fact_id = self._same(line)
            if fact_id is None:
                rows = self._database.query(
                    "INSERT INTO facts (text, kind, written, slot, created_at) VALUES (?, ?, ?, ?, ?)"
                    " RETURNING id",
                    (line, kind, message_id is None, slot, now()),
                )
                fact_id = int(rows[0]["id"])
                self.link(fact_id, entities_in(line, kind))
            day = _day(line, kind, said)
            if message_id is not None:
                self._database.execute(
                    "INSERT OR IGNORE INTO fact_sources (fact_id, message_id, day) VALUES (?, ?, ?)",
                    (fact_id, message_id, day),
                )
            else:
                self._database.execute("UPDATE facts SET written = 1, day = ? WHERE id = ?", (day, fact_id))
            self.settle()
            return self.get(fact_id)

    def list(self, visible: Collection[str] | None = None) -> tuple[Fact, ...]:
        """Pinned facts first, then those that were stated last; closed ones come after all others.

        Args:
            visible: only facts stated in these sessions, and those the user wrote; None: all.
        """
        where, value = "", tuple[str, ...]()
        if visible is not None:
            where, value = _VISIBLE, (json.dumps(sorted(visible)),)
        rows = self._database.query(
            f"{_SELECT} {where} ORDER BY until IS NOT NULL, pinned DESC, stated_at DESC, id DESC", value
        )
        return tuple(_fact(row) for row in rows)

    def settle(self) -> None:
        """Close every fact in a slot but the one that was stated last; pinned facts stay open."""
        rows = self._database.query(
            f"SELECT * FROM ({_SELECT} WHERE slot IS NOT NULL) ORDER BY slot, stated_at, id"
        )
        for row, after in zip_longest(rows, rows[1:]):
            closes = after is not None and after["slot"] == row["slot"] and not row["pinned"]
            until = after["stated_at"] if closes and after is not None else None
            if until != row["until"]:
                self._database.execute("UPDATE facts SET until = ? WHERE id = ?", (until, row["id"]))

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
            fact = self.get(fact_id)
            if line != fact.text:
                self._database.execute("UPDATE facts SET text = ?, edited = 1 WHERE id = ?", (line, fact_id))
                self.link(fact_id, entities_in(line, fact.kind))
                self._date(fact_id, line, fact.kind)
            return self.get(fact_id)

    def pin(self, fact_id: int) -> Fact:
        """Put a fact into every prompt. Raises `FactNotFound`."""
        return self._set_pinned(fact_id, True)

    def unpin(self, fact_id: int) -> Fact:
        """Raises `FactNotFound`."""
        return self._set_pinned(fact_id, False)

    def remove(self, fact_id: int) -> None:
        """Raises `FactNotFound`. The next checkpoint erases the text from the file."""
        with self._database.atomic():
            if not self._database.execute("DELETE FROM facts WHERE id = ?", (fact_id,)):
                raise FactNotFound(fact_id)
            self.settle()

    def made_from(self, message_id: str) -> tuple[Fact, ...]:
        """The facts that this message states, edited ones included, oldest first."""
        rows = self._database.query(
            f"{_SELECT} WHERE id IN (SELECT fact_id FROM fact_sources WHERE message_id = ?) ORDER BY id",
            (message_id,),
        )
        return tuple(_fact(row) for row in rows)

    def related(self, fact_id: int) -> tuple[Fact, ...]:
        """The other facts that name the same, those that were stated last first."""
        rows = self._database.query(
            f"{_SELECT} WHERE id <> ?1 AND id IN (SELECT other.fact_id FROM fact_entities AS mine"
            " JOIN fact_entities AS other USING (entity_id) WHERE mine.fact_id = ?1)"
            " ORDER BY until IS NOT NULL, stated_at DESC, id DESC",
            (fact_id,),
        )
        return tuple(_fact(row) for row in rows)

    def link(self, fact_id: int, entities: Iterable[Entity]) -> None:
        """Set what a fact names."""
        self._database.execute("DELETE FROM fact_entities WHERE fact_id = ?", (fact_id,))
        for position, entity in enumerate(entities):
            key = entity_key(entity.name)
            self._database.execute(
                "INSERT INTO entities (name, key, kind) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE"
                " SET kind = excluded.kind WHERE entities.kind = 'name'",
                (entity.name, key, entity.kind),
            )
            self._database.execute(
                "INSERT OR IGNORE INTO fact_entities SELECT ?, id, ? FROM entities WHERE key = ?",
                (fact_id, position, key),
            )
        self._database.execute("UPDATE facts SET linked = 1 WHERE id = ? AND NOT linked", (fact_id,))

    def link_older(self) -> None:
        """Find the entities of the facts that an earlier version stored."""
        rows = self._database.query("SELECT id, text, kind FROM facts WHERE NOT linked")
        if rows:
            with self._database.atomic():
                for row in rows:
                    self.link(row["id"], entities_in(row["text"], row["kind"]))

    def remove_made_from(self, message_id: str) -> int:
        """Delete what only this message states, and which models have read it; returns how many facts that
        were."""
        with self._database.atomic():
            before = self.count()
            self._database.execute("DELETE FROM fact_readings WHERE message_id = ?", (message_id,))
            self._database.execute("DELETE FROM fact_sources WHERE message_id = ?", (message_id,))
            self.settle()
            return before - self.count()

    def count(self) -> int:
        """The number of facts."""
        row = self._database.query_one("SELECT count(*) AS facts FROM facts")
        return int(row["facts"]) if row is not None else 0

    def _said(self, message_id: str) -> str:
        row = self._database.query_one(
            "SELECT created_at FROM messages WHERE id = ? AND NOT forgotten", (message_id,)
        )
        if row is None:
            raise MessageNotFound(message_id)
        return str(row["created_at"])

    def _date(self, fact_id: int, line: str, kind: FactKind) -> None:
        """Find again what day a fact means, by the time of each statement."""
        for row in self._database.query(
            "SELECT message_id, created_at FROM fact_sources JOIN messages ON messages.id = message_id"
            " WHERE fact_id = ?",
            (fact_id,),
        ):
            self._database.execute(
                "UPDATE fact_sources SET day = ? WHERE fact_id = ? AND message_id = ?",
                (_day(line, kind, row["created_at"]), fact_id, row["message_id"]),
            )
        written = self.get(fact_id).created_at
        self._database.execute(
            "UPDATE facts SET day = ? WHERE id = ? AND written", (_day(line, kind, written), fact_id)
        )

    def _same(self, line: str) -> int | None:
        wanted = fact_key(line)
        rows = self._database.query("SELECT id, text FROM facts ORDER BY id")
        return next((int(row["id"]) for row in rows if fact_key(row["text"]) == wanted), None)

    def _set_pinned(self, fact_id: int, pinned: bool) -> Fact:
        with self._database.atomic():
            self._database.execute("UPDATE facts SET pinned = ? WHERE id = ?", (int(pinned), fact_id))
            if pinned:
                self._database.execute(
                    "UPDATE messages SET of_use_at = ? WHERE id IN"
                    " (SELECT message_id FROM fact_sources WHERE fact_id = ?)",
                    (now(), fact_id),
                )
            self.settle()
            return self.get(fact_id)


def fact_key(line: str) -> str:
    """Equal for lines that state the same: ignores case, closing marks and the style of quotes."""
    key = unicodedata.normalize("NFKC", line.translate(_STRAIGHT)).casefold()
    return key.rstrip(" .!,;:") or key


def _day(line: str, kind: FactKind, said_at: str) -> str | None:
    return day_meant(line, _local_day(said_at), ahead=kind == "deadline")


def _local_day(at: str) -> date:
    """In this machine's time zone."""
    return datetime.fromisoformat(at).astimezone().date()


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
        sources=tuple(json.loads(row["sources"])),
        pinned=bool(row["pinned"]),
        edited=bool(row["edited"]),
        created_at=row["created_at"],
        stated_at=row["stated_at"],
        until=row["until"],
        day=row["day"],
        entities=tuple(Entity(name, kind) for name, kind in json.loads(row["entities"])),
    )
