"""Passages: the excerpts of messages and documents that a search can find.

Every method runs on the database's thread.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from memory.storage.database import Database, Value
from memory.storage.schema import KEYWORD_INDEX
from memory.text import Piece, parts_of, quoted_from_json, split_text
from memory.types import Passage

__all__ = ["EVERYTHING", "Passages", "View", "view_clause"]

# In the order of the fields of `Passage`.
_SELECT = """
    SELECT passages.id, coalesce(message_id, ''), coalesce(session_id, ''), coalesce(role, 'document'), text,
        coalesce(created_at, indexed_at), previous, origin, documents.path, first_line, last_line,
        coalesce(documents.name, ''), of_use_at
    FROM passages LEFT JOIN messages ON messages.id = passages.message_id
    LEFT JOIN documents ON documents.id = passages.document_id
"""
_MERGED_PAGES = 64  # of the keyword index at a time: a few milliseconds
_MERGE_GOES_ON = 2  # changes of rows; with fewer, FTS5 says, a merge had nothing left to do
_LISTED = "(SELECT value FROM json_each(?))"  # any number of ids in one statement, parsed once
_LINKS = f"""
    WITH wanted (id) AS {_LISTED}
    SELECT id, previous FROM passages WHERE id IN wanted
    UNION ALL SELECT id, previous FROM passages WHERE previous IN wanted
    UNION ALL SELECT id, previous FROM passages
        WHERE id IN (SELECT previous FROM passages WHERE id IN wanted)
"""
_OWNERS = """
    passages LEFT JOIN messages ON messages.id = passages.message_id
    LEFT JOIN documents ON documents.id = passages.document_id
"""
_MEMORABLE = """
    messages.role IN ('user', 'assistant') AND messages.status IN ('complete', 'cancelled', 'interrupted')
    AND messages.forgotten = 0 AND messages.unrecorded = 0 AND sessions.off_record = 0
"""


@dataclass(frozen=True, slots=True)
class View:
    """The passages that a search may see.

    Args:
        sessions: those of these chats; None: of all.
        roots: those of the documents under these; None: of all.
    """

    sessions: frozenset[str] | None = None
    roots: frozenset[int] | None = None


EVERYTHING = View()


def view_clause(view: View) -> tuple[str, list[Value]]:
    """A condition on passages joined with `messages` and `documents`, as SQL, and its values."""
    values: list[Value] = []
    conditions = []
    for wanted, column, owner in (
        (view.sessions, "messages.session_id", "passages.message_id"),
        (view.roots, "documents.root_id", "passages.document_id"),
    ):
        if wanted is None:
            conditions.append(f"{owner} IS NOT NULL")
        elif wanted:
            conditions.append(f"{column} IN {_LISTED}")
            values.append(json.dumps(sorted(wanted)))
    return " OR ".join(conditions) or "0", values


class Passages:
    """Stores the passages of messages and documents. Deleting one deletes its vector."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, message_id: str) -> None:
        """Store a finished message's passages; none if it is empty, a system message or off the record."""
        row = self._database.query_one(
            "SELECT messages.content, messages.quoted,"
            " (SELECT max(id) FROM passages WHERE message_id = messages.parent_id) AS previous"
            " FROM messages JOIN sessions ON sessions.id = messages.session_id"
            f" WHERE messages.id = ? AND {_MEMORABLE}",
            (message_id,),
        )
        with self._database.atomic():
            self.remove_messages([message_id])
            if row is None:
                return
            previous = row["previous"]
            content, quoted = row["content"], quoted_from_json(row["quoted"])
            passages = [
                (text, origin)  # no passage mixes a person's own words with others
                for start, end, origin in parts_of(content, quoted)
                for text in split_text(content[start:end])
            ]
            for part, (text, origin) in enumerate(passages):
                self._database.execute(
                    "INSERT INTO passages (message_id, part, text, previous, analysed, origin)"
                    " VALUES (?, ?, ?, ?, 1, ?)",
                    (message_id, part, text, previous, origin),
                )
                newest = self._database.query_one("SELECT last_insert_rowid() AS id")
                previous = newest["id"] if newest is not None else None

    def add_missing(self, after: int, limit: int) -> int | None:
        """Store the passages of older messages that lack them.

        Args:
            after: continue after the message with this number; 0 starts at the first.

        Returns:
            The number of the last message examined; None when none is left.
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
        """Passages by id; ids that no longer exist are left out."""
        rows = self._database.query(f"{_SELECT} WHERE passages.id IN {_LISTED}", (json.dumps(list(ids)),))
        return {row[0]: Passage(*row) for row in rows}

    def sample(self, count: int) -> list[str]:
        """The texts of some passages, chosen at random."""
        rows = self._database.query(
            "SELECT text FROM passages WHERE id IN (SELECT id FROM passages ORDER BY random() LIMIT ?)",
            (count,),
        )
        return [row["text"] for row in rows]

    def links(self, ids: Collection[int]) -> dict[int, int | None]:
        """These passages and their neighbours on either side, each mapped to the one before it."""
        rows = self._database.query(_LINKS, (json.dumps(sorted(ids)),))
        return {row["id"]: row["previous"] for row in rows}

    def visible(self, ids: Collection[int], view: View) -> set[int]:
        """The passages among these that the view contains."""
        condition, values = view_clause(view)
        rows = self._database.query(
            f"SELECT passages.id FROM {_OWNERS} WHERE passages.id IN {_LISTED} AND ({condition})",
            (json.dumps(sorted(ids)), *values),
        )
        return {row["id"] for row in rows}

    def seen(self, view: View, most: int) -> frozenset[int] | None:
        """The ids of the passages in a view; None if there are more than `most`."""
        condition, values = view_clause(view)
        rows = self._database.query(
            f"SELECT passages.id FROM {_OWNERS} WHERE {condition} LIMIT ?", (*values, most + 1)
        )
        return frozenset(row["id"] for row in rows) if len(rows) <= most else None

    def replace_document(self, document_id: int, pieces: Sequence[Piece]) -> list[int]:
        """Store a document's passages in place of those it had; they are analysed later (`analyse_some`).

        The search takes the passage before one into account. Under another heading it would mislead: each
        section is a chain of its own.

        Returns:
            The ids of the passages that are gone.
        """
        with self._database.atomic():
            gone = self.of_document(document_id)
            self._database.execute("DELETE FROM passages WHERE document_id = ?", (document_id,))
            previous: int | None = None
            for part, piece in enumerate(pieces):
                before = previous if piece.continues else None
                self._database.execute(
                    "INSERT INTO passages (document_id, part, text, previous, first_line, last_line)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (document_id, part, piece.text, before, piece.first_line, piece.last_line),
                )
                newest = self._database.query_one("SELECT last_insert_rowid() AS id")
                previous = newest["id"] if newest is not None else None
        return gone

    def of_document(self, document_id: int) -> list[int]:
        """The ids of the passages of a document."""
        rows = self._database.query("SELECT id FROM passages WHERE document_id = ?", (document_id,))
        return [row["id"] for row in rows]

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
        """How many passages a message has, and how many of those have a vector."""
        row = self._database.query_one(
            "SELECT count(*) AS everything, count(embedder) AS embedded FROM passages WHERE message_id = ?",
            (message_id,),
        )
        return (row["everything"], row["embedded"]) if row is not None else (0, 0)

    def remove_messages(self, message_ids: Sequence[str]) -> None:
        """Delete the passages of messages; their words stay in the keyword index until it is purged."""
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

    def purge_some(self, *, first: bool) -> bool:
        """Rewrite a part of the keyword index without the words of deleted passages.

        Args:
            first: whether a new purge begins; it goes on with each further call.

        Returns:
            Whether there is more to do.
        """
        # FTS5 only marks postings as deleted; they stay in its segments until those are merged into one.
        before = self._database.total_changes
        self._database.execute(
            "INSERT INTO passage_words (passage_words, rank) VALUES ('merge', ?)",
            (-_MERGED_PAGES if first else _MERGED_PAGES,),
        )
        return self._database.total_changes - before >= _MERGE_GOES_ON

    def analyse_some(self, limit: int) -> bool:
        """Put the newest passages that are not yet in the keyword index into it; False if there are none."""
        return bool(
            self._database.execute(
                "UPDATE passages SET analysed = 1 WHERE id IN"
                " (SELECT id FROM passages WHERE analysed = 0 ORDER BY id DESC LIMIT ?)",
                (limit,),
            )
        )

    def discard_analysis(self) -> None:
        """Replace a damaged keyword index by an empty one, for `analyse_some` to fill."""
        with self._database.atomic():
            self._database.execute("DROP TABLE IF EXISTS passage_terms")
            self._database.execute("DROP TABLE IF EXISTS passage_words")
            for statement in KEYWORD_INDEX:
                self._database.execute(statement)
            self._database.execute("UPDATE passages SET analysed = 0")
