"""How much is remembered, and all of it as one document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memory.database import Database
from memory.facts import Facts
from memory.index_status import IndexStatus
from memory.summaries import Summaries

__all__ = ["Inventory", "MemoryStats"]

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStats:
    """How much is remembered.

    Args:
        sessions, off_record: all chats, and those of which nothing is remembered.
        messages: those that a search can find.
        embedded: passages with a vector.
        database_bytes, index_bytes: on disk.
    """

    remembering: bool
    sessions: int
    off_record: int
    messages: int
    forgotten: int
    passages: int
    embedded: int
    facts: int
    pinned: int
    summaries: int
    database_bytes: int
    index_bytes: int
    index: IndexStatus

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class Inventory:
    """Counts and lists what is kept. Any thread; blocks.

    Args:
        vectors: the folder of the vector index, which need not be there.
    """

    def __init__(self, database: Database, facts: Facts, summaries: Summaries, vectors: Path) -> None:
        self._database = database
        self._facts = facts
        self._summaries = summaries
        self._vectors = vectors

    def stats(self, *, remembering: bool, index: IndexStatus) -> MemoryStats:
        """All figures."""
        path = self._database.path
        return MemoryStats(
            remembering=remembering,
            **self._database.call(self._counts),
            database_bytes=_size(path.with_name(path.name + ending) for ending in ("", "-wal", "-shm")),
            index_bytes=_size(self._vectors.rglob("*")),
            index=index,
        )

    def export(self) -> dict[str, Any]:
        """The profile, all summaries, and the messages that can be found, as plain JSON values."""
        return self._database.call(self._export)

    def _counts(self) -> dict[str, int]:
        row = self._database.query_one(_COUNTS)
        return dict(row) if row is not None else {}

    def _export(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "facts": [asdict(fact) for fact in self._facts.list()],
            "summaries": [asdict(summary) for summary in self._summaries.all()],
            "messages": [dict(row) for row in self._database.query(_REMEMBERED)],
        }


def _size(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # it has just been deleted
            continue
    return total


_COUNTS = """
    SELECT
        (SELECT count(*) FROM sessions) AS sessions,
        (SELECT count(*) FROM sessions WHERE off_record) AS off_record,
        (SELECT count(DISTINCT message_id) FROM passages) AS messages,
        (SELECT count(*) FROM messages WHERE forgotten) AS forgotten,
        (SELECT count(*) FROM passages) AS passages,
        (SELECT count(*) FROM passages WHERE embedder IS NOT NULL) AS embedded,
        (SELECT count(*) FROM facts) AS facts,
        (SELECT count(*) FROM facts WHERE pinned) AS pinned,
        (SELECT count(*) FROM summaries) AS summaries
"""
_REMEMBERED = """
    SELECT messages.id, session_id, sessions.title AS session_title, role, content AS text,
        messages.created_at AS at
    FROM messages JOIN sessions ON sessions.id = session_id
    WHERE messages.id IN (SELECT message_id FROM passages) ORDER BY messages.number
"""
