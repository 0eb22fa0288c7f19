"""Documents: the files whose passages a search can find beside what was said.

Every method runs on the database's thread.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from memory.storage.database import Database, now
from memory.types import Document

__all__ = ["Documents", "KnownFile"]

# In the order of the fields of `Document`.
_SELECT = """
    SELECT documents.id, documents.path, name, document_roots.path, project, bytes, indexed_at,
        (SELECT count(*) FROM passages WHERE document_id = documents.id), note
    FROM documents JOIN document_roots ON document_roots.id = root_id
"""
_LISTED = "(SELECT value FROM json_each(?))"
_FIELDS = ("id", "path", "name", "root", "project", "bytes", "indexed_at", "passages", "note")


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What was recorded of a file when it was read last.

    Args:
        sha256: None if it could not be read or is left out.
        excluded: the user removed it while its folder stays.
    """

    id: int
    root_id: int
    bytes: int
    mtime_ns: int
    sha256: str | None
    note: str | None
    excluded: bool


class Documents:
    """Stores which files are documents, and which roots they come from."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Document]:
        """All documents by path, those that are left out among them; removed ones not."""
        rows = self._database.query(f"{_SELECT} WHERE NOT excluded ORDER BY documents.path")
        return [Document(**dict(zip(_FIELDS, row, strict=True))) for row in rows]

    def roots(self) -> list[tuple[int, str]]:
        """Numbers and paths of what the user added, in the order of adding."""
        rows = self._database.query("SELECT id, path FROM document_roots ORDER BY id")
        return [(row["id"], row["path"]) for row in rows]

    def add_root(self, path: str, project: str | None) -> int:
        """Record what the user adds; added again, it may change its project."""
        row = self._database.query_one(
            "INSERT INTO document_roots (path, project) VALUES (?, ?)"
            " ON CONFLICT (path) DO UPDATE SET project = excluded.project RETURNING id",
            (path, project),
        )
        assert row is not None
        return int(row["id"])

    def remove_root(self, root_id: int) -> list[int]:
        """Delete a root with its documents; returns the ids of their passages."""
        with self._database.atomic():
            gone = self._passages_of("SELECT id FROM documents WHERE root_id = ?", root_id)
            self._database.execute("DELETE FROM document_roots WHERE id = ?", (root_id,))
        return gone

    def known(self, path: str) -> KnownFile | None:
        """What is recorded of a file."""
        row = self._database.query_one(
            "SELECT id, root_id, bytes, mtime_ns, sha256, note, excluded FROM documents WHERE path = ?",
            (path,),
        )
        if row is None:
            return None
        return KnownFile(**(dict(row) | {"excluded": bool(row["excluded"])}))

    def of_root(self, root_id: int) -> dict[str, int]:
        """The documents of a root, by path; removed ones too."""
        rows = self._database.query("SELECT id, path FROM documents WHERE root_id = ?", (root_id,))
        return {row["path"]: row["id"] for row in rows}

    def put(
        self,
        root_id: int,
        path: str,
        name: str,
        *,
        size: int,
        mtime_ns: int,
        sha256: str | None,
        note: str | None,
    ) -> int:
        """Record a file as it was read; returns its number."""
        row = self._database.query_one(
            "INSERT INTO documents (root_id, path, name, bytes, mtime_ns, sha256, indexed_at, note)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET root_id = excluded.root_id,"
            " name = excluded.name, bytes = excluded.bytes, mtime_ns = excluded.mtime_ns,"
            " sha256 = excluded.sha256, indexed_at = excluded.indexed_at, note = excluded.note, excluded = 0"
            " RETURNING id",
            (root_id, path, name, size, mtime_ns, sha256, now(), note),
        )
        assert row is not None
        return int(row["id"])

    def claim(self, document_id: int, root_id: int, name: str, mtime_ns: int) -> None:
        """Note that a file whose content is the same belongs to a root, and when it was written."""
        self._database.execute(
            "UPDATE documents SET root_id = ?, name = ?, mtime_ns = ?, excluded = 0 WHERE id = ?",
            (root_id, name, mtime_ns, document_id),
        )

    def note(self, document_id: int, text: str | None) -> None:
        """Say what is wrong with a document; its passages stay."""
        self._database.execute("UPDATE documents SET note = ? WHERE id = ?", (text, document_id))

    def remove(self, ids: Collection[int]) -> list[int]:
        """Delete documents; returns the ids of their passages."""
        with self._database.atomic():
            gone = self._passages_of("SELECT value FROM json_each(?)", json.dumps(sorted(ids)))
            self._database.execute(f"DELETE FROM documents WHERE id IN {_LISTED}", (json.dumps(sorted(ids)),))
        return gone

    def exclude(self, ids: Sequence[int]) -> list[int]:
        """Delete the passages of documents and keep the files out; returns the ids of the passages."""
        with self._database.atomic():
            listed = json.dumps(list(ids))
            gone = self._passages_of("SELECT value FROM json_each(?)", listed)
            self._database.execute(f"DELETE FROM passages WHERE document_id IN {_LISTED}", (listed,))
            self._database.execute(
                f"UPDATE documents SET excluded = 1, sha256 = NULL, note = NULL WHERE id IN {_LISTED}",
                (listed,),
            )
        return gone

    def _passages_of(self, documents: str, value: int | str) -> list[int]:
        rows = self._database.query(f"SELECT id FROM passages WHERE document_id IN ({documents})", (value,))
        return [row["id"] for row in rows]
