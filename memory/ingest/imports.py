"""Adds what an export holds and the store lacks. Runs on the database's thread."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memory.errors import InvalidImport
from memory.ingest.import_file import Columns, Document, Item
from memory.storage import Database, Facts, Value, fact_key
from memory.types import Imported

__all__ = ["add_document"]


def add_document(document: Document, database: Database, facts: Facts) -> tuple[Imported, list[str]]:
    """Add what the store lacks, in one transaction.

    What is in the store stays as it is: the title of a chat, a fact that was reworded. What was forgotten
    here, or belongs to a chat that is off the record here, stays so.

    Returns:
        What was added, and the ids of all messages of the document that are here, for the caller to index.

    Raises:
        InvalidImport: an id names something else here, or a source is missing; nothing was added.
    """
    with database.atomic():
        adding = _Adding(document, database, facts)
        adding.add_sessions()
        adding.add_messages()
        adding.add_facts()
        adding.add_summaries()
        adding.renumber_sources()
        facts.settle()
        return Imported(**adding.counts, known=adding.known, left_out=adding.left_out), adding.here


@dataclass(slots=True)
class _Numbers:
    """The numbers that facts, or summaries, of the document get here.

    Args:
        highest: ever given here. Numbers up to it name other things here, which may be forgotten by now.
    """

    highest: int
    here: dict[int, int] = field(default_factory=dict)

    def in_order(self, items: Sequence[Item]) -> list[Item]:
        """First those that keep their number, so that no new number is one of theirs."""
        return sorted(items, key=lambda item: item.number <= self.highest)

    def kept(self, item: Item) -> int | None:
        return item.number if item.number > self.highest else None

    def translated(self, numbers: Sequence[int]) -> list[int]:
        found = [self.here.get(number, number) for number in numbers]
        return [
            new for old, new in zip(numbers, found, strict=True) if old in self.here or old > self.highest
        ]


class _Adding:
    def __init__(self, document: Document, database: Database, profile: Facts) -> None:
        self._document = document
        self._profile = profile
        self._database = database
        self._facts, self._summaries = _Numbers(self._highest("facts")), _Numbers(self._highest("summaries"))
        self._chat_of: dict[str, Value] = {}  # of each message that is there, or was added
        self._off_record = {row["id"] for row in database.query("SELECT id FROM sessions WHERE off_record")}
        self._new_sources: dict[str, dict[str, Any]] = {}
        self.counts = dict.fromkeys(("sessions", "messages", "facts", "summaries"), 0)
        self.known = 0
        self.left_out = 0

    def add_sessions(self) -> None:
        here = {row["id"]: row for row in self._database.query("SELECT id, created_at FROM sessions")}
        for item in self._document.sessions:
            row = here.get(item.columns["id"])
            if row is None:
                self._insert("sessions", item.columns | {"head_id": None})
            elif self._document.complete and row["created_at"] != item.columns["created_at"]:
                raise InvalidImport.at(f"{item.place}.id", "is the id of another chat here")
        self._heads = [
            (item.columns["head_id"], item.columns["id"])
            for item in self._document.sessions
            if item.columns["id"] not in here
        ]

    def add_messages(self) -> None:
        here = self._messages_here()
        for item in self._document.messages:
            columns = item.columns
            message_id, chat = str(columns["id"]), columns["session_id"]
            row = here.get(message_id)
            if row is None and chat not in self._off_record:
                self._insert("messages", columns)
                for model in item.readers:
                    self._database.execute(
                        "INSERT OR IGNORE INTO fact_readings VALUES (?, ?)", (message_id, model)
                    )
                if columns.get("sources"):
                    self._new_sources[message_id] = json.loads(str(columns["sources"]))
            elif row is None or row["forgotten"] or chat in self._off_record:
                self.left_out += 1
                continue
            elif any(row[name] != columns[name] for name in ("session_id", "role", "content", "created_at")):
                raise InvalidImport.at(f"{item.place}.id", "is the id of another message here")
            else:
                self.known += 1
            self._chat_of[message_id] = chat
        for head, session_id in self._heads:
            self._database.execute("UPDATE sessions SET head_id = ? WHERE id = ?", (head, session_id))

    @property
    def here(self) -> list[str]:
        """The messages of the document that were here, or were added."""
        return list(self._chat_of)

    def add_facts(self) -> None:
        rows = self._database.query("SELECT id, text, created_at FROM facts ORDER BY id DESC")
        # The same fact, whatever it was reworded to and whatever number it got here.
        times = Counter(row["created_at"] for row in rows)
        times.update(item.columns["created_at"] for item in self._document.facts)
        by_time = {row["created_at"]: int(row["id"]) for row in rows if times[row["created_at"]] == 2}
        by_number = {(row["id"], row["created_at"]): int(row["id"]) for row in rows}
        by_text = {fact_key(row["text"]): int(row["id"]) for row in rows}
        for item in self._facts.in_order(self._document.facts):
            columns, sources = item.columns, self._sources(item)
            if not sources and not columns["written"]:
                self.left_out += 1
                continue
            at = columns["created_at"]
            same = by_number.get((item.number, at)) or by_time.get(at)
            fact_id = same or by_text.get(fact_key(str(columns["text"])))
            if fact_id is None:
                fact_id = self._insert("facts", columns | {"id": self._facts.kept(item)})
                if item.entities is not None:  # else they are found below
                    self._profile.link(fact_id, item.entities)
            else:
                self.known += 1
                self._database.execute(
                    "UPDATE facts SET pinned = max(pinned, ?), written = max(written, ?) WHERE id = ?",
                    (columns["pinned"] and not same, columns["written"], fact_id),  # unpinned here stays so
                )
            self._facts.here[item.number] = fact_id
            for source in sources:
                self._database.execute(
                    "INSERT OR IGNORE INTO fact_sources (fact_id, message_id, day) VALUES (?, ?, ?)",
                    (fact_id, source, item.days.get(source)),
                )
        self._profile.link_older()

    def add_summaries(self) -> None:
        known = {
            (row["session_id"], row["level"], tuple(json.loads(row["sources"]))): int(row["id"])
            for row in self._database.query(_SUMMARIES)
        }
        for item in self._summaries.in_order(self._document.summaries):
            columns, sources = item.columns, self._sources(item)
            if sources != item.sources:
                self.left_out += 1
                continue
            if any(self._chat_of[source] != columns["session_id"] for source in sources):
                raise InvalidImport.at(f"{item.place}.sources", "names a message of another chat")
            number = known.get((columns["session_id"], columns["level"], sources))
            if number is None:
                number = self._insert("summaries", columns | {"id": self._summaries.kept(item)})
                for position, source in enumerate(sources):
                    self._database.execute(
                        "INSERT INTO summary_sources (summary_id, position, message_id) VALUES (?, ?, ?)",
                        (number, position, source),
                    )
            else:
                self.known += 1
            self._summaries.here[item.number] = number

    def renumber_sources(self) -> None:
        """Let the records of replies name facts and summaries by their numbers here."""
        for message_id, found in self._new_sources.items():
            for name, numbers in _NUMBERED.items():
                found[name] = getattr(self, numbers).translated(found[name])
            self._database.execute(
                "UPDATE messages SET sources = ? WHERE id = ?", (json.dumps(found), message_id)
            )
        # Some of those facts are forgotten: no new one may get their numbers.
        for table, fields in _NAMED_IN.items():
            named = [n for found in self._new_sources.values() for name in fields for n in found[name]]
            if named and max(named) > self._highest(table):
                self._set_highest(table, max(named))

    def _sources(self, item: Item) -> tuple[str, ...]:
        """The sources that are there. Raises `InvalidImport`: one is neither in the document nor here."""
        unknown = [source for source in item.sources if source not in self._chat_of]
        if unknown and self._document.complete:
            inside = {entry.columns["id"] for entry in self._document.messages}
            if any(source not in inside for source in unknown):
                raise InvalidImport.at(f"{item.place}.sources", "names a message that is not in the file")
        return tuple(source for source in item.sources if source in self._chat_of)

    def _messages_here(self) -> dict[str, Mapping[str, Any]]:
        wanted = json.dumps([item.columns["id"] for item in self._document.messages])
        rows = self._database.query(
            "SELECT id, session_id, role, content, created_at, forgotten FROM messages"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (wanted,),
        )
        return {row["id"]: dict(row) for row in rows}

    def _insert(self, table: str, columns: Columns) -> int:
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        values = tuple(int(value) if isinstance(value, bool) else value for value in columns.values())
        self._database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)
        if table in self.counts:
            self.counts[table] += 1
        row = self._database.query_one("SELECT last_insert_rowid() AS id")
        return int(row["id"]) if row is not None else 0

    def _highest(self, table: str) -> int:
        row = self._database.query_one("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
        return int(row["seq"]) if row is not None else 0

    def _set_highest(self, table: str, number: int) -> None:
        self._database.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        self._database.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))


_NAMED_IN = {"facts": ("facts", "learned"), "summaries": ("summaries",)}
_NUMBERED = {"facts": "_facts", "learned": "_facts", "summaries": "_summaries"}
_SUMMARIES = """
    SELECT id, session_id, level, (
        SELECT json_group_array(message_id)
        FROM (SELECT message_id FROM summary_sources WHERE summary_id = summaries.id ORDER BY position)
    ) AS sources FROM summaries
"""
