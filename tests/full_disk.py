"""A simulated full disk: no volume needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from memory import Memory

__all__ = ["full_disk"]


@contextmanager
def full_disk(memory: Memory) -> Iterator[None]:
    """SQLite raises the real SQLITE_FULL: the file may not grow by one page."""
    database = memory._database

    def limit(pages: str) -> None:
        database.query(f"PRAGMA max_page_count={pages}")

    pages = database.call(database.query, "PRAGMA page_count")[0][0]
    database.call(limit, str(pages))
    try:
        yield
    finally:
        database.call(limit, "1073741823")
