"""The pieces of messages that can be found again. Every method runs on the database's thread."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

from memory.storage.database import Database
from memory.text import split_text
from memory.types import Passage

__all__ = ["Passages"]

# In the order of a passage's fields.
_SELECT = """
    SELECT passages.id, message_id, session_id, role, text, created_at, previous
    FROM passages JOIN messages ON messages.id = passages.message_id
"""
_LISTED = "(SELECT value FROM json_each(?))"  # any number of ids in one statement, parsed once
_LINKS = f"""
    WITH wanted (id) AS {_LISTED}
    SELECT id, previous FROM passages WHERE id IN wanted
    UNION ALL SELECT id, previous FROM passages WHERE previous IN wanted
    UNION ALL SELECT id, previous FROM passages
        WHERE id IN (SELECT previous FROM passages WHERE id IN wanted)
"""
_VISIBLE = f"""
    SELECT passages.id FROM passages JOIN messages ON messages.id = passages.message_id
    WHERE passages.id IN {_LISTED} AND messages.session_id IN {_LISTED}
"""
_MEMORABLE = """
    messages.role IN ('user', 'assistant') AND messages.status IN ('complete', 'cancelled', 'interrupted')
    AND messages.forgotten = 0 AND messages.unrecorded = 0 AND sessions.off_record = 0
"""


class Passages:
    """Keeps the passages of messages, and which of them the vector index has."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, message_id: str) -> None:
        """Enter a finished message; nothing of an empty one, a system message, or one off the record."""
        row = self._database.query_one(
            "SELECT messages.content, (SELECT max(id) FROM passages WHERE message_id = messages.parent_id)"
            " AS previous FROM messages JOIN sessions ON sessions.id = messages.session_id"
            f" WHERE messages.id = ? AND {_MEMORABLE}",
            (message_id,),
        )
        with self._database.atomic():
            self._database.execute("DELETE FROM passages WHERE message_id = ?", (message_id,))
            if row is None:
                return
            previous = row["previous"]
            for part, text in enumerate(split_text(row["content"])):
                self._database.execute(
                    "INSERT INTO passages (message_id, part, text, previous) VALUES (?, ?, ?, ?)",
                    (message_id, part, text, previous),
                )
                newest = self._database.query_one("SELECT last_insert_rowid() AS id")
                previous = newest["id"] if newest is not None else None

    def add_missing(self, after: int, limit: int) -> int | None:
        """Enter older messages that should have passages and have none.

        Args:
            after: the number of the message to go on behind; 0 begins.

        Returns:
            The number of the last message that was looked at; None when there is none left.
        """
        rows = self._database.query(
            "SELECT messages.id, messages.number FROM messages JOIN sessions ON sessions.id = session_id"
            f" WHERE messages.number > ? AND {_MEMORABLE}"
            " AND NOT EXISTS (SELECT 1 FROM passages WHERE message_id = messages.id)"
            " ORDER BY messages.number LIMIT ?",
            (after, limit),
        )
        with self._database.atomic():
            for row in rows:
                self.add(row["id"])
        return rows[-1]["number"] if rows else None

    def get(self, ids: Iterable[int]) -> dict[int, Passage]:
        """Those of the passages that are there."""
        rows = self._database.query(f"{_SELECT} WHERE passages.id IN {_LISTED}", (json.dumps(list(ids)),))
        return {row[0]: Passage(*row) for row in rows}

    def links(self, ids: Collection[int]) -> dict[int, int | None]:
        """The passages and those right before and after them, each with the one before it."""
        rows = self._database.query(_LINKS, (json.dumps(sorted(ids)),))
        return {row["id"]: row["previous"] for row in rows}

    def visible(self, ids: Collection[int], sessions: Collection[str]) -> set[int]:
        """Those of the passages that these sessions have."""
        values = (json.dumps(sorted(ids)), json.dumps(sorted(sessions)))
        return {row["id"] for row in self._database.query(_VISIBLE, values)}

    def of_messages(self, message_ids: Collection[str]) -> frozenset[int]:
        """The ids of the passages of these messages."""
        rows = self._database.query(
            "SELECT id FROM passages WHERE message_id IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(message_ids)),),
        )
        return frozenset(row["id"] for row in rows)

    def of_message(self, message_id: str) -> list[int]:
        """The ids of the passages of a message."""
        rows = self._database.query("SELECT id FROM passages WHERE message_id = ?", (message_id,))
        return [row["id"] for row in rows]

    def counts_of_message(self, message_id: str) -> tuple[int, int]:
        """How many passages a message has, and how many of them have a vector."""
        row = self._database.query_one(
            "SELECT count(*) AS everything, count(embedder) AS embedded FROM passages WHERE message_id = ?",
            (message_id,),
        )
        return (row["everything"], row["embedded"]) if row is not None else (0, 0)

    def remove_messages(self, message_ids: Sequence[str]) -> None:
        """Take the passages of messages out; their words are in the keyword index until `purge`."""
        with self._database.atomic():
            for message_id in message_ids:
                self._database.execute("DELETE FROM passages WHERE message_id = ?", (message_id,))

    def of_session(self, session_id: str) -> list[int]:
        """The ids of the passages of a session."""
        rows = self._database.query(
            "SELECT passages.id FROM passages JOIN messages ON messages.id = message_id WHERE session_id = ?",
            (session_id,),
        )
        return [row["id"] for row in rows]

    def purge(self) -> None:
        """Write the keyword index anew: without the words of what was deleted."""
        # FTS5 only marks postings as deleted; they are in its segments until those are written again.
        self._database.execute("INSERT INTO passage_words (passage_words) VALUES ('rebuild')")

    def without_vector(self, limit: int, *, skipped: Collection[int] = ()) -> list[Passage]:
        """Passages that have no vector yet, the newest first, without those to skip."""
        # By the index on (embedder, id): a look at every passage would take a tenth of a second.
        rows = self._database.query(
            f"{_SELECT} WHERE passages.embedder IS NULL ORDER BY passages.id DESC LIMIT ?",
            (limit + len(skipped),),
        )
        return [Passage(*row) for row in rows if row[0] not in skipped][:limit]

    def reset_other_embedders(self, embedder: str) -> None:
        """Vectors of any other embedder count for nothing."""
        for other in ("<", ">"):
            self._database.execute(
                f"UPDATE passages SET embedder = NULL WHERE embedder {other} ?", (embedder,)
            )

    def mark_embedded(self, ids: Sequence[int], embedder: str | None) -> None:
        """Remember whose vectors of these passages the index has; None: nobody's."""
        self._database.execute(
            f"UPDATE passages SET embedder = ? WHERE id IN {_LISTED}", (embedder, json.dumps(list(ids)))
        )

    def embedded(self, embedder: str) -> list[int]:
        """Passages whose vector of this embedder the index should have."""
        rows = self._database.query("SELECT id FROM passages WHERE embedder = ?", (embedder,))
        return [row["id"] for row in rows]

    def mark_removed(self, ids: Sequence[int]) -> None:
        """Remember that the index must lose these vectors, whoever has it open now."""
        with self._database.atomic():
            for number in ids:
                self._database.execute("INSERT OR IGNORE INTO removed_vectors VALUES (?)", (number,))

    def removed(self) -> list[int]:
        """What `mark_removed` remembers."""
        return [row["passage_id"] for row in self._database.query("SELECT passage_id FROM removed_vectors")]

    def clear_removed(self, ids: Sequence[int]) -> None:
        """The index has lost these vectors."""
        with self._database.atomic():
            for number in ids:
                self._database.execute("DELETE FROM removed_vectors WHERE passage_id = ?", (number,))

    def counts(self) -> tuple[int, int]:
        """How many passages there are, and how many of them have a vector."""
        row = self._database.query_one(
            "SELECT (SELECT count(*) FROM passages) AS everything,"
            " (SELECT count(*) FROM passages WHERE embedder IS NULL) AS missing"
        )
        return (row["everything"], row["everything"] - row["missing"]) if row is not None else (0, 0)
