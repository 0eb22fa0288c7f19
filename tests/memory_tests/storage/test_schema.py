"""The schema: created, upgraded, refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from word_counter import WordCounter

from memory import Budget, Memory, StoreError, StoreUnavailable
from memory.storage.database import Database
from memory.storage.schema import MIGRATIONS, Migration, applied_migrations, migrate

# A file of the first version, as SQL: released files must open forever.
_VERSION_1 = Path(__file__).with_name("version_1.sql")


def test_names_are_ordered_and_unique() -> None:
    names = [migration.name for migration in MIGRATIONS]
    assert names == sorted(set(names))


def test_a_new_file_gets_all_migrations_and_records_each(memory: Memory) -> None:
    assert memory._database.call(applied_migrations, memory._database) == [item.name for item in MIGRATIONS]


def test_opening_again_changes_nothing(database_path: Path) -> None:
    Memory(database_path).close()
    before = database_path.read_bytes()
    Memory(database_path).close()
    assert database_path.read_bytes() == before


def test_a_file_of_version_1_is_upgraded_and_keeps_its_messages(database_path: Path) -> None:
    database_path.parent.mkdir()
    old = sqlite3.connect(database_path)
    old.executescript(_VERSION_1.read_text(encoding="utf-8"))
    old.close()
    with Memory(database_path, counter=WordCounter()) as memory:
        assert memory._database.call(applied_migrations, memory._database) == [
            item.name for item in MIGRATIONS
        ]
        session = memory.session("Sourdough bread")
        messages = memory.messages(session.id)
        assert [(item.role, item.status) for item in messages] == [
            ("user", "complete"),
            ("assistant", "complete"),
            ("user", "complete"),
            ("assistant", "cancelled"),
        ]
        assert messages[0].content == "How long does the dough rest?"
        assert messages[1].timings == {"prompt_tokens": 12, "tokens_per_second": 41.5}
        for number in range(20):
            memory.add_message(session.id, "user", f"and then, number {number}?")
            memory.build_context(session.id, budget=Budget(60))


def test_passages_of_an_earlier_version_have_no_vector_and_can_be_found(database_path: Path) -> None:
    """Their vectors were in another place, which is deleted: they are embedded once more."""
    database = Database(database_path)
    database.call(migrate, database, MIGRATIONS[:9])
    for statement in (
        "INSERT INTO sessions VALUES (7, 's', 't', 't', 0, 'now', 'now', NULL, NULL, NULL, NULL, 0, NULL,"
        " 'everywhere')",
        "INSERT INTO messages (id, session_id, role, content, status, created_at)"
        " VALUES ('m', 's', 'user', 'a boat', 'complete', 'now')",
        "INSERT INTO passages (message_id, part, text, embedder, analysed) VALUES ('m', 0, 'a boat', 'x', 1)",
        "INSERT INTO removed_vectors VALUES (5)",
    ):
        database.call(database.execute, statement)
    database.close()
    with Memory(database_path) as memory:
        assert memory.search("boat")[0].text == "a boat"
        vectors = memory._components.vectors._vectors
        assert memory._call(vectors.missing, "x", 10) == [(1, "a boat")]
        assert memory._call(vectors.add, "x", [(1, b"12")]) == [1]
        assert memory._call(vectors.get, "x", [1]) == [(1, 7, b"12")]
        memory.delete_session("s")
        assert memory._call(vectors.get, "x", [1]) == []
        assert memory._call(lambda: memory._components.settings.index_epoch)


def test_facts_of_an_earlier_version_keep_sources_and_numbers_and_get_their_entities(
    database_path: Path,
) -> None:
    database = Database(database_path)
    earlier = [item for item in MIGRATIONS if item.name < "014"]
    database.call(migrate, database, earlier)
    for statement in (
        "INSERT INTO sessions (number, id, title, title_key, titled, created_at, updated_at)"
        " VALUES (7, 's', 't', 't', 0, '2026-01-01', '2026-01-01')",
        "INSERT INTO messages (id, session_id, role, content, status, created_at)"
        " VALUES ('m', 's', 'user', 'x', 'complete', '2026-01-01T00:00:00+00:00')",
        "INSERT INTO facts (id, text, kind, slot, created_at)"
        " VALUES (3, 'I live in Ghent', 'fact', 'home', '2026-01-01T00:00:00+00:00')",
        "INSERT INTO facts (id, text, kind, written, created_at) VALUES (9, 'gone', 'fact', 1, '2026-01-01')",
        "INSERT INTO fact_sources VALUES (3, 'm')",
        "DELETE FROM facts WHERE id = 9",
    ):
        database.call(database.execute, statement)
    database.close()
    with Memory(database_path) as memory:
        (fact,) = memory.long_term.facts()
        assert (fact.id, fact.text, fact.sources) == (3, "I live in Ghent", ("m",))
        assert [entity.name for entity in fact.entities] == ["Ghent"]
        assert memory.long_term.add_fact("The deadline is tomorrow", "deadline").id == 10
        memory.add_message("s", "user", "I live in Leeds.")
        assert [fact.until is None for fact in memory.long_term.facts() if fact.id == 3] == [False]
        memory.delete_session("s")
        assert [fact.id for fact in memory.long_term.facts()] == [10]


def test_a_failing_migration_leaves_the_previous_version(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    steps = [
        Migration("001-good", ("CREATE TABLE one (a)",)),
        Migration("002-bad", ("CREATE TABLE two (a)", "CREATE TABLE two (a)")),
    ]
    try:
        with pytest.raises(StoreError, match="SQLITE_ERROR") as raised:
            database.call(migrate, database, steps)
        assert "already exists" in str(raised.value.__cause__)
        assert database.call(applied_migrations, database) == ["001-good"]
        tables = database.call(database.query, "SELECT name FROM sqlite_schema WHERE name IN ('one', 'two')")
        assert [row["name"] for row in tables] == ["one"]
        database.call(migrate, database, [steps[0], Migration("002-mended", ("CREATE TABLE two (a)",))])
        assert database.call(applied_migrations, database) == ["001-good", "002-mended"]
    finally:
        database.close()


def test_a_file_from_the_future_is_refused_and_left_alone(database_path: Path) -> None:
    with Memory(database_path) as memory:
        memory._database.call(
            migrate, memory._database, [*MIGRATIONS, Migration("999-dreams", ("CREATE TABLE dreams (a)",))]
        )
    before = database_path.read_bytes()
    with pytest.raises(StoreUnavailable, match=r"newer version of stevemin \('999-dreams'.*Update stevemin"):
        Memory(database_path)
    assert database_path.read_bytes() == before


def test_processes_that_open_a_new_file_at_once(database_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from memory import Memory; Memory(Path(sys.argv[1])).close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(database_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    errors = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0] * 4, errors
    with Memory(database_path) as memory:
        assert memory._database.call(applied_migrations, memory._database) == [
            item.name for item in MIGRATIONS
        ]
