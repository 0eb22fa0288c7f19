"""The schema, as ordered, named migrations; each is recorded in the transaction that applies it.

A released migration never changes, because users' files have run it. Append a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memory.errors import StoreUnavailable
from memory.storage.database import APPLICATION_ID, Database, now

__all__ = ["KEYWORD_INDEX", "MIGRATIONS", "Migration", "applied_migrations", "migrate"]


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    name: str
    statements: tuple[str, ...]


# The terms of passages as `memory.text.analysed` gives them: this tokenizer only splits them at blanks. The
# index keeps no text: to take a passage out of it, its terms are made again.
KEYWORD_INDEX = (
    "CREATE VIRTUAL TABLE passage_words USING fts5(terms, content='', tokenize='ascii')",
    "CREATE VIRTUAL TABLE passage_terms USING fts5vocab('passage_words', 'row')",
)
KEYWORD_TRIGGERS = (
    """
    CREATE TRIGGER passage_added AFTER INSERT ON passages WHEN new.analysed = 1 BEGIN
        INSERT INTO passage_words (rowid, terms) VALUES (new.id, analysed(new.text));
    END
    """,
    """
    CREATE TRIGGER passage_analysed AFTER UPDATE OF analysed ON passages
    WHEN old.analysed = 0 AND new.analysed = 1 BEGIN
        INSERT INTO passage_words (rowid, terms) VALUES (new.id, analysed(new.text));
    END
    """,
    """
    CREATE TRIGGER passage_removed AFTER DELETE ON passages WHEN old.analysed = 1 BEGIN
        INSERT INTO passage_words (passage_words, rowid, terms)
        VALUES ('delete', old.id, analysed(old.text));
    END
    """,
)

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
    Migration(
        "003-long-term-memory",
        (
            "ALTER TABLE sessions ADD COLUMN off_record INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE sessions ADD COLUMN project TEXT",
            "ALTER TABLE messages ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE context_cuts ADD COLUMN summary_id INTEGER NOT NULL DEFAULT 0",
            """
            CREATE TABLE passages (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
                part INTEGER NOT NULL,
                text TEXT NOT NULL,
                previous INTEGER,
                embedder TEXT,
                UNIQUE (message_id, part)
            ) STRICT
            """,
            "CREATE INDEX passages_by_previous ON passages (previous)",
            "CREATE INDEX passages_by_embedder ON passages (embedder, id)",
            "CREATE TABLE removed_vectors (passage_id INTEGER PRIMARY KEY) STRICT",
            """
            CREATE VIRTUAL TABLE passage_words
            USING fts5(text, content='passages', content_rowid='id', tokenize='porter unicode61')
            """,
            "CREATE VIRTUAL TABLE passage_terms USING fts5vocab('passage_words', 'row')",
            """
            CREATE TRIGGER passage_added AFTER INSERT ON passages BEGIN
                INSERT INTO passage_words (rowid, text) VALUES (new.id, new.text);
            END
            """,
            """
            CREATE TRIGGER passage_removed AFTER DELETE ON passages BEGIN
                INSERT INTO passage_words (passage_words, rowid, text) VALUES ('delete', old.id, old.text);
            END
            """,
            """
            CREATE TABLE summaries (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
                level INTEGER NOT NULL,
                text TEXT NOT NULL,
                created_at TEXT NOT NULL
            ) STRICT
            """,
            "CREATE INDEX summaries_by_session ON summaries (session_id)",
            """
            CREATE TABLE summary_sources (
                summary_id INTEGER NOT NULL REFERENCES summaries (id) ON DELETE CASCADE,
                position INTEGER NOT NULL,
                message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
                PRIMARY KEY (summary_id, position)
            ) STRICT, WITHOUT ROWID
            """,
            "CREATE INDEX summary_sources_by_message ON summary_sources (message_id)",
            """
            CREATE TRIGGER summary_source_removed AFTER DELETE ON summary_sources BEGIN
                DELETE FROM summaries WHERE id = old.summary_id;
            END
            """,
            """
            CREATE TABLE facts (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                text TEXT NOT NULL,
                kind TEXT NOT NULL CHECK (kind IN ('fact', 'preference')),
                message_id TEXT REFERENCES messages (id) ON DELETE CASCADE,
                pinned INTEGER NOT NULL DEFAULT 0,
                edited INTEGER NOT NULL DEFAULT 0,
                created_at TEXT NOT NULL
            ) STRICT
            """,
            "CREATE INDEX facts_by_message ON facts (message_id)",
        ),
    ),
    Migration(
        "004-memory-controls",
        (
            "ALTER TABLE messages ADD COLUMN unrecorded INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE sessions ADD COLUMN scope TEXT NOT NULL DEFAULT 'everywhere'"
            " CHECK (scope IN ('session', 'project', 'everywhere'))",
            "CREATE INDEX sessions_by_scope ON sessions (scope) WHERE scope <> 'everywhere'",
            "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        ),
    ),
    Migration(
        "005-one-analyser",
        (
            "DROP TRIGGER passage_added",
            "DROP TRIGGER passage_removed",
            "DROP TABLE passage_terms",
            "DROP TABLE passage_words",
            # 1 once its terms are in the keyword index; older passages get there in the background.
            "ALTER TABLE passages ADD COLUMN analysed INTEGER NOT NULL DEFAULT 0",
            "CREATE INDEX passages_not_analysed ON passages (id) WHERE analysed = 0",
            *KEYWORD_INDEX,
            *KEYWORD_TRIGGERS,
        ),
    ),
    Migration(
        "006-facts-of-many-sources",
        (
            "CREATE TABLE fact_pairs AS SELECT id, message_id FROM facts WHERE message_id IS NOT NULL",
            """
            CREATE TABLE facts_now (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                text TEXT NOT NULL,
                kind TEXT NOT NULL CHECK (kind IN ('fact', 'preference')),
                written INTEGER NOT NULL DEFAULT 0,
                slot TEXT,
                until TEXT,
                pinned INTEGER NOT NULL DEFAULT 0,
                edited INTEGER NOT NULL DEFAULT 0,
                created_at TEXT NOT NULL
            ) STRICT
            """,
            "INSERT INTO facts_now"
            " SELECT id, text, kind, message_id IS NULL, NULL, NULL, pinned, edited, created_at FROM facts",
            "DROP TABLE facts",  # before any table refers to it: its rows are deleted one by one
            "ALTER TABLE facts_now RENAME TO facts",
            "CREATE INDEX facts_by_slot ON facts (slot) WHERE slot IS NOT NULL",
            """
            CREATE TABLE fact_sources (
                fact_id INTEGER NOT NULL REFERENCES facts (id) ON DELETE CASCADE,
                message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
                PRIMARY KEY (fact_id, message_id)
            ) STRICT, WITHOUT ROWID
            """,
            "INSERT INTO fact_sources SELECT id, message_id FROM fact_pairs",
            "DROP TABLE fact_pairs",
            "CREATE INDEX fact_sources_by_message ON fact_sources (message_id)",
            """
            CREATE TRIGGER fact_source_removed AFTER DELETE ON fact_sources
            WHEN NOT EXISTS (SELECT 1 FROM fact_sources WHERE fact_id = old.fact_id) BEGIN
                DELETE FROM facts WHERE id = old.fact_id AND NOT written;
            END
            """,
        ),
    ),
    Migration(
        "007-no-summaries-off-the-record",
        ("DELETE FROM summaries WHERE session_id IN (SELECT id FROM sessions WHERE off_record)",),
    ),
    Migration("008-sources-of-replies", ("ALTER TABLE messages ADD COLUMN sources TEXT",)),
    Migration(
        "009-identity-of-the-store", ("INSERT INTO settings VALUES ('store', lower(hex(randomblob(16))))",)
    ),
    Migration(
        "010-vectors-beside-their-passages",
        (
            # Not every passage is a message's.
            """
            CREATE TABLE passages_now (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                message_id TEXT REFERENCES messages (id) ON DELETE CASCADE,
                part INTEGER NOT NULL,
                text TEXT NOT NULL,
                previous INTEGER,
                embedder TEXT,
                analysed INTEGER NOT NULL DEFAULT 0,
                UNIQUE (message_id, part)
            ) STRICT
            """,
            "INSERT INTO passages_now"
            " SELECT id, message_id, part, text, previous, NULL, analysed FROM passages",
            "DROP TABLE passages",  # before any table refers to it: its rows are deleted one by one
            "ALTER TABLE passages_now RENAME TO passages",
            "CREATE INDEX passages_by_previous ON passages (previous)",
            # The embedder whose vector the passage has: finding those without one must not read the vectors.
            "CREATE INDEX passages_by_embedder ON passages (embedder, id)",
            "CREATE INDEX passages_not_analysed ON passages (id) WHERE analysed = 0",
            *KEYWORD_TRIGGERS,
            # 16-bit floats. `chat` is the number of the passage's session, 0 if it has none: a search that
            # may not see some chats must not look up each passage's message first.
            """
            CREATE TABLE vectors (
                passage_id INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
                embedder TEXT NOT NULL,
                chat INTEGER NOT NULL,
                vector BLOB NOT NULL
            ) STRICT
            """,
            # Whoever deletes a vector, and why: every copy of it made before is out of date.
            """
            CREATE TRIGGER vector_removed AFTER DELETE ON vectors BEGIN
                INSERT INTO settings VALUES ('index_epoch', lower(hex(randomblob(8))))
                ON CONFLICT DO UPDATE SET value = excluded.value;
            END
            """,
            "DROP TABLE IF EXISTS removed_vectors",
        ),
    ),
    Migration(
        "011-what-is-not-the-persons-words",
        (
            "ALTER TABLE messages ADD COLUMN quoted TEXT",
            "ALTER TABLE passages ADD COLUMN origin TEXT",
        ),
    ),
    Migration(
        "012-documents",
        (
            # What the user added: a file, a folder or a pattern.
            """
            CREATE TABLE document_roots (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                path TEXT NOT NULL UNIQUE,
                project TEXT
            ) STRICT
            """,
            # Their files, those that are left out with the reason as note among them.
            """
            CREATE TABLE documents (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                root_id INTEGER NOT NULL REFERENCES document_roots (id) ON DELETE CASCADE,
                path TEXT NOT NULL UNIQUE,
                name TEXT NOT NULL,
                bytes INTEGER NOT NULL,
                mtime_ns INTEGER NOT NULL,
                sha256 TEXT,
                indexed_at TEXT NOT NULL,
                note TEXT,
                excluded INTEGER NOT NULL DEFAULT 0
            ) STRICT
            """,
            "CREATE INDEX documents_by_root ON documents (root_id)",
            "ALTER TABLE passages ADD COLUMN document_id INTEGER REFERENCES documents (id) ON DELETE CASCADE",
            "ALTER TABLE passages ADD COLUMN first_line INTEGER",
            "ALTER TABLE passages ADD COLUMN last_line INTEGER",
            "CREATE INDEX passages_by_document ON passages (document_id) WHERE document_id IS NOT NULL",
        ),
    ),
    Migration(
        "013-vectors-by-embedder",
        (
            # While another embedding model takes over, a passage has a vector of each. The table's own key is
            # the number of the row: clustered by two columns, vectors would spill over the pages of an index.
            """
            CREATE TABLE vectors_now (
                id INTEGER PRIMARY KEY,
                passage_id INTEGER NOT NULL REFERENCES passages (id) ON DELETE CASCADE,
                embedder TEXT NOT NULL,
                chat INTEGER NOT NULL,
                vector BLOB NOT NULL,
                UNIQUE (passage_id, embedder)
            ) STRICT
            """,
            "INSERT INTO vectors_now SELECT NULL, passage_id, embedder, chat, vector FROM vectors"
            " ORDER BY passage_id",
            "DROP TABLE vectors",
            "ALTER TABLE vectors_now RENAME TO vectors",
            """
            CREATE TRIGGER vector_removed AFTER DELETE ON vectors BEGIN
                INSERT INTO settings VALUES ('index_epoch', lower(hex(randomblob(8))))
                ON CONFLICT DO UPDATE SET value = excluded.value;
            END
            """,
            # The model that answers. A passage's `embedder` is the last that has embedded it.
            "INSERT INTO settings SELECT 'embedder', embedder FROM passages WHERE embedder IS NOT NULL"
            " GROUP BY embedder ORDER BY count(*) DESC LIMIT 1",
        ),
    ),
    Migration(
        "014-facts-of-more-kinds",
        (
            # `day`: what "next Tuesday" means. `linked`: 1 once its entities are known; those of older facts
            # are found when the store is opened.
            """
            CREATE TABLE facts_now (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                text TEXT NOT NULL,
                kind TEXT NOT NULL CHECK (kind IN
                    ('fact', 'preference', 'tool', 'version', 'machine', 'project', 'decision', 'deadline')),
                written INTEGER NOT NULL DEFAULT 0,
                slot TEXT,
                until TEXT,
                pinned INTEGER NOT NULL DEFAULT 0,
                edited INTEGER NOT NULL DEFAULT 0,
                created_at TEXT NOT NULL,
                day TEXT,
                linked INTEGER NOT NULL DEFAULT 0
            ) STRICT
            """,
            "INSERT INTO facts_now"
            " SELECT id, text, kind, written, slot, until, pinned, edited, created_at, NULL, 0 FROM facts",
            # The numbers of facts that are forgotten are not given again.
            "DELETE FROM sqlite_sequence WHERE name = 'facts_now'",
            "INSERT INTO sqlite_sequence (name, seq)"
            " SELECT 'facts_now', seq FROM sqlite_sequence WHERE name = 'facts'",
            """
            CREATE TABLE fact_sources_now (
                fact_id INTEGER NOT NULL REFERENCES facts_now (id) ON DELETE CASCADE,
                message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
                day TEXT,
                PRIMARY KEY (fact_id, message_id)
            ) STRICT, WITHOUT ROWID
            """,
            "INSERT INTO fact_sources_now SELECT fact_id, message_id, NULL FROM fact_sources",
            "DROP TABLE fact_sources",  # before `facts`, to which it refers: its rows would be deleted
            "DROP TABLE facts",
            "ALTER TABLE facts_now RENAME TO facts",
            "ALTER TABLE fact_sources_now RENAME TO fact_sources",
            "CREATE INDEX facts_by_slot ON facts (slot) WHERE slot IS NOT NULL",
            "CREATE INDEX fact_sources_by_message ON fact_sources (message_id)",
            """
            CREATE TRIGGER fact_source_removed AFTER DELETE ON fact_sources
            WHEN NOT EXISTS (SELECT 1 FROM fact_sources WHERE fact_id = old.fact_id) BEGIN
                DELETE FROM facts WHERE id = old.fact_id AND NOT written;
            END
            """,
            """
            CREATE TABLE entities (
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL,
                key TEXT NOT NULL UNIQUE,
                kind TEXT NOT NULL CHECK (kind IN ('kin', 'tool', 'machine', 'project', 'name'))
            ) STRICT
            """,
            """
            CREATE TABLE fact_entities (
                fact_id INTEGER NOT NULL REFERENCES facts (id) ON DELETE CASCADE,
                entity_id INTEGER NOT NULL REFERENCES entities (id) ON DELETE CASCADE,
                position INTEGER NOT NULL,
                PRIMARY KEY (fact_id, entity_id)
            ) STRICT, WITHOUT ROWID
            """,
            "CREATE INDEX fact_entities_by_entity ON fact_entities (entity_id)",
            """
            CREATE TRIGGER fact_entity_removed AFTER DELETE ON fact_entities
            WHEN NOT EXISTS (SELECT 1 FROM fact_entities WHERE entity_id = old.entity_id) BEGIN
                DELETE FROM entities WHERE id = old.entity_id;
            END
            """,
            # Messages in which a model has looked for facts: it is not asked again.
            """
            CREATE TABLE fact_readings (
                message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
                model TEXT NOT NULL,
                PRIMARY KEY (message_id, model)
            ) STRICT, WITHOUT ROWID
            """,
        ),
    ),
    # When a finished reply last drew on the message, or the user pinned a fact that it states.
    Migration("015-what-was-of-use", ("ALTER TABLE messages ADD COLUMN of_use_at TEXT",)),
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
    """Names of the migrations that this file has, in order."""
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
