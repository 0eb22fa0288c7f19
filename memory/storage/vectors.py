"""The vectors of passages, as bytes: each lies beside its passage and is erased with it.

Every method runs on the database's thread. What the bytes mean is the business of `memory.vectors`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from memory.storage.database import Database

__all__ = ["NO_CHAT", "StoredVector", "StoredVectors"]

NO_CHAT = 0  # the number that stands for the chat of a passage of a document

_LISTED = "(SELECT value FROM json_each(?))"
_RESET = 5_000  # passages of another embedder in one transaction: a tenth of a second


class StoredVector(NamedTuple):
    """A passage's vector. A search makes 100,000 of these, so it is a tuple.

    Args:
        chat: the number of the passage's session; `NO_CHAT` if it belongs to none.
    """

    passage: int
    chat: int
    data: bytes


class StoredVectors:
    """The truth about vectors: whatever else holds them is a copy, made from these rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, embedder: str, vectors: Iterable[tuple[int, bytes]]) -> list[int]:
        """Store vectors by passage, except for passages that were deleted meanwhile; returns the others."""
        stored = []
        with self._database.atomic():
            for passage, data in sorted(vectors):  # in the order of the table: takes a third less room
                # Another process may have stored the same vector. Were its row kept and this passage not
                # marked, it would be embedded again for ever.
                added = self._database.execute(
                    "INSERT INTO vectors (passage_id, embedder, chat, vector)"
                    " SELECT passages.id, ?, coalesce(sessions.number, 0), ? FROM passages"
                    " LEFT JOIN messages ON messages.id = passages.message_id"
                    " LEFT JOIN sessions ON sessions.id = messages.session_id WHERE passages.id = ?"
                    " ON CONFLICT DO UPDATE SET embedder = excluded.embedder, vector = excluded.vector",
                    (embedder, data, passage),
                )
                if added:
                    self._database.execute(
                        "UPDATE passages SET embedder = ? WHERE id = ?", (embedder, passage)
                    )
                    stored.append(passage)
        return stored

    def get(self, embedder: str, passages: Sequence[int]) -> list[StoredVector]:
        """The vectors of these passages, as far as there are any."""
        return self._read(f"passage_id IN {_LISTED}", embedder, json.dumps(list(passages)))

    def scan(
        self, embedder: str, after: int, limit: int, *, hidden: Collection[int] = ()
    ) -> list[StoredVector]:
        """The vectors of the passages after this one, in the order of their ids.

        Args:
            hidden: chats whose passages are left out.
        """
        where = f"passage_id > ? AND chat NOT IN {_LISTED} ORDER BY passage_id LIMIT ?"
        return self._read(where, embedder, after, json.dumps(list(hidden)), limit)

    def ids(self, embedder: str | None) -> list[int]:
        """The passages that have a vector of this embedder; None: of any."""
        rows = self._database.query(
            "SELECT id FROM passages WHERE embedder IS NOT NULL"
            + ("" if embedder is None else " AND embedder = ?"),
            () if embedder is None else (embedder,),
        )
        return [row["id"] for row in rows]

    def missing(self, limit: int, *, skipped: Collection[int] = ()) -> list[tuple[int, str]]:
        """Passages without a vector and their texts, the newest first, except those to skip."""
        # Uses the index on (embedder, id): a scan of all passages would take a tenth of a second.
        rows = self._database.query(
            "SELECT id, text FROM passages WHERE embedder IS NULL ORDER BY id DESC LIMIT ?",
            (limit + len(skipped),),
        )
        return [(row["id"], row["text"]) for row in rows if row["id"] not in skipped][:limit]

    def remove_other_embedders(self, embedder: str) -> bool:
        """Delete some vectors of other embedders; False if there are none."""
        removed = 0
        for other in ("<", ">"):
            rows = self._database.query(
                f"SELECT id FROM passages WHERE embedder {other} ? LIMIT ?", (embedder, _RESET)
            )
            ids = json.dumps([row["id"] for row in rows])
            with self._database.atomic():
                self._database.execute(f"DELETE FROM vectors WHERE passage_id IN {_LISTED}", (ids,))
                self._database.execute(f"UPDATE passages SET embedder = NULL WHERE id IN {_LISTED}", (ids,))
            removed += len(rows)
        return bool(removed)

    def counts(self) -> tuple[int, int]:
        """How many passages there are, and how many of those have a vector."""
        row = self._database.query_one(
            "SELECT (SELECT count(*) FROM passages) AS everything,"
            " (SELECT count(*) FROM passages WHERE embedder IS NULL) AS missing"
        )
        return (row["everything"], row["everything"] - row["missing"]) if row is not None else (0, 0)

    def _read(self, where: str, embedder: str, *values: str | int) -> list[StoredVector]:
        rows = self._database.query(
            f"SELECT passage_id, chat, vector FROM vectors WHERE embedder = ? AND {where}",
            (embedder, *values),
        )
        return [StoredVector(*row) for row in rows]
