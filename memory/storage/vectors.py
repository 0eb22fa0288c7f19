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
    """The truth about vectors: whatever else holds them is a copy, made from these rows.

    While another embedder takes over, a passage has a vector of each. `passages.embedder` is the last one
    that embedded it, so what an embedder has still to do is found by an index.
    """

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
                    " ON CONFLICT DO UPDATE SET vector = excluded.vector",
                    (embedder, data, passage),
                )
                if added:
                    self._mark(embedder, [passage])
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

    def ids(self, embedder: str) -> list[int]:
        """The passages that have a vector of this embedder."""
        rows = self._database.query("SELECT passage_id FROM vectors WHERE embedder = ?", (embedder,))
        return [row["passage_id"] for row in rows]

    def missing(self, embedder: str, limit: int, *, skipped: Collection[int] = ()) -> list[tuple[int, str]]:
        """Passages that this embedder has not embedded last and their texts, except those to skip.

        Those without any vector come first, then the newest.
        """
        found: list[tuple[int, str]] = []
        for mark in (None, *self._other_marks(embedder)):
            if len(found) < limit:
                found += self._marked(mark, limit + len(skipped))
        return [item for item in found if item[0] not in skipped][:limit]

    def without_any(self, limit: int, *, skipped: Collection[int] = ()) -> list[tuple[int, str]]:
        """Passages without a vector and their texts, the newest first, except those to skip."""
        batch = self._marked(None, limit + len(skipped))
        return [item for item in batch if item[0] not in skipped][:limit]

    def adopt(self, embedder: str, passages: Sequence[int]) -> set[int]:
        """Those of these passages that have a vector of this embedder already; they are missing no more.

        That is so where somebody changes the settings back before the other embedder is done.
        """
        rows = self._database.query(
            f"SELECT passage_id FROM vectors WHERE embedder = ? AND passage_id IN {_LISTED}",
            (embedder, json.dumps(list(passages))),
        )
        adopted = [row["passage_id"] for row in rows]
        self._mark(embedder, adopted)
        return set(adopted)

    def remove_others(self, embedders: Collection[str]) -> bool:
        """Delete some vectors of other embedders than these; False if there are none."""
        return bool(
            self._database.execute(
                "DELETE FROM vectors WHERE id IN"
                f" (SELECT id FROM vectors WHERE embedder NOT IN {_LISTED} LIMIT ?)",
                (json.dumps(list(embedders)), _RESET),
            )
        )

    def unmark_others(self, embedder: str) -> None:
        """Count the passages that this embedder could not embed as passages without a vector."""
        for mark in self._other_marks(embedder):
            self._database.execute("UPDATE passages SET embedder = NULL WHERE embedder = ?", (mark,))

    def counts(self, embedder: str) -> tuple[int, int]:
        """How many passages there are, and how many of those have a vector of this embedder."""
        row = self._database.query_one(
            "SELECT (SELECT count(*) FROM passages) AS everything,"
            " (SELECT count(*) FROM passages WHERE embedder IS NULL)"
            " + (SELECT count(*) FROM passages WHERE embedder < ?)"
            " + (SELECT count(*) FROM passages WHERE embedder > ?) AS missing",
            (embedder, embedder),
        )
        return (row["everything"], row["everything"] - row["missing"]) if row is not None else (0, 0)

    def _marked(self, mark: str | None, limit: int) -> list[tuple[int, str]]:
        # Uses the index on (embedder, id): a scan of all passages would take a tenth of a second.
        rows = self._database.query(
            f"SELECT id, text FROM passages WHERE embedder {'IS NULL' if mark is None else '= ?'}"
            " ORDER BY id DESC LIMIT ?",
            (limit,) if mark is None else (mark, limit),
        )
        return [(row["id"], row["text"]) for row in rows]

    def _other_marks(self, embedder: str) -> list[str]:
        """The other embedders that have embedded a passage last."""
        marks: list[str] = []
        last = ""
        while (
            row := self._database.query_one(
                "SELECT min(embedder) AS mark FROM passages WHERE embedder > ?", (last,)
            )
        ) is not None and row["mark"] is not None:
            last = row["mark"]
            if last != embedder:
                marks.append(last)
        return marks

    def _mark(self, embedder: str, passages: Sequence[int]) -> None:
        if passages:
            self._database.execute(
                f"UPDATE passages SET embedder = ? WHERE id IN {_LISTED}",
                (embedder, json.dumps(list(passages))),
            )

    def _read(self, where: str, embedder: str, *values: str | int) -> list[StoredVector]:
        rows = self._database.query(
            f"SELECT passage_id, chat, vector FROM vectors WHERE embedder = ? AND {where}",
            (embedder, *values),
        )
        return [StoredVector(*row) for row in rows]
