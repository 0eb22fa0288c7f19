"""What the store remembers about itself. Every method runs on the database's thread."""

from __future__ import annotations

from memory.database import Database

__all__ = ["Settings"]

_REMEMBERING = "remembering"
_PURGE = "purge"


class Settings:
    """Switches that outlive the process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def remembering(self) -> bool:
        """Whether what is said enters long-term memory, and whether prompts draw on it."""
        return not self._is_set(_REMEMBERING, "off")

    @remembering.setter
    def remembering(self, on: bool) -> None:
        self._set(_REMEMBERING, None if on else "off")

    @property
    def purge_due(self) -> bool:
        """Whether deleted words may still be in the keyword index."""
        return self._is_set(_PURGE, "due")

    @purge_due.setter
    def purge_due(self, due: bool) -> None:
        self._set(_PURGE, "due" if due else None)

    def _is_set(self, name: str, value: str) -> bool:
        row = self._database.query_one("SELECT value FROM settings WHERE name = ?", (name,))
        return row is not None and row["value"] == value

    def _set(self, name: str, value: str | None) -> None:
        if value is None:
            self._database.execute("DELETE FROM settings WHERE name = ?", (name,))
        else:
            self._database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))
