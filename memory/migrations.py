"""The schema, as ordered, named steps; each is recorded in the transaction that makes it.

A released migration never changes: files in the field have run it. Append a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memory.clock import now
from memory.database import APPLICATION_ID, Database
from memory.errors import StoreUnavailable

__all__ = ["MIGRATIONS", "Migration", "applied_migrations", "migrate"]


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    name: str
    statements: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "001-sessions-and-messages",
        (
            """
            CREATE TABLE sessions (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                id TEXT NOT NULL UNIQUE,
                title TEXT NOT NULL,
                title_key TEXT NOT NULL,
                titled INTEGER NOT NULL,
                created_at TEXT NOT NULL,
                updated_at TEXT NOT NULL,
                model TEXT,
                strategy TEXT,
                system_prompt TEXT,
                head_id TEXT REFERENCES messages (id)
            ) STRICT
            """,
            "CREATE INDEX sessions_by_title ON sessions (title_key)",
            "CREATE INDEX sessions_by_activity ON sessions (updated_at)",
            "CREATE INDEX sessions_by_head ON sessions (head_id)",
            """
            CREATE TABLE messages (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                id TEXT NOT NULL UNIQUE,
                session_id TEXT NOT NULL REFERENCES sessions (id),
                parent_id TEXT REFERENCES messages (id),
                role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
                content TEXT NOT NULL,
                status TEXT NOT NULL
                    CHECK (status IN ('complete', 'streaming', 'cancelled', 'interrupted', 'failed')),
                created_at TEXT NOT NULL,
                model TEXT,
                finish_reason TEXT,
                timings TEXT,
                error TEXT,
                writer_pid INTEGER
            ) STRICT
            """,
            "CREATE INDEX messages_by_session ON messages (session_id)",
            "CREATE INDEX messages_by_parent ON messages (parent_id)",
            "CREATE INDEX messages_streaming ON messages (status) WHERE status = 'streaming'",
        ),
    ),
    Migration(
        "002-context-cuts",
        (
            """
            CREATE TABLE context_cuts (
                session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
                strategy TEXT NOT NULL,
                message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
                budget_tokens INTEGER NOT NULL,
                PRIMARY KEY (session_id, strategy, message_id)
            ) STRICT, WITHOUT ROWID
            """,
            "CREATE INDEX context_cuts_by_message ON context_cuts (message_id)",
        ),
    ),
)


def migrate(database: Database, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the schema up to date. Runs on the database's thread.

    Raises:
        StoreUnavailable: a newer version of the program wrote this file, or it cannot be written.
    """
    known = [migration.name for migration in migrations]
    while True:
        with database.atomic():  # takes the write lock: a second process waits here, then finds it done
            done = applied_migrations(database)
            if done != known[: len(done)]:
                newest = next((name for name in reversed(done) if name not in known), done[-1])
                raise StoreUnavailable(
                    f"The database {database.path} was written by a newer version of stevemin "
                    f"({newest!r} is not known here). Update stevemin."
                )
            if len(done) == len(known):
                return
            _apply(database, migrations[len(done)])


def applied_migrations(database: Database) -> list[str]:
    """Names of the steps this file has, in order."""
    if not database.query("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'"):
        return []
    return [row["name"] for row in database.query("SELECT name FROM migrations ORDER BY position")]


def _apply(database: Database, migration: Migration) -> None:
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(
        "CREATE TABLE IF NOT EXISTS migrations "
        "(position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, applied_at TEXT NOT NULL) STRICT"
    )
    for statement in migration.statements:
        database.execute(statement)
    database.execute("INSERT INTO migrations (name, applied_at) VALUES (?, ?)", (migration.name, now()))
