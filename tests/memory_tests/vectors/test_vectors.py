"""Vectors in the store: made, searched, forgotten. The embedder has no model, Chroma is a stand-in."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from memory_tests.vectors.index_kit import (
    FAKE_CHROMA,
    count_openings,
    files_with,
    index_of,
    meanings,
    ready,
    tell,
)
from memory_tests.vectors.letters import Letters, Signs
from waiting import block_until

from memory import IndexState, Memory
from memory.storage import StoredVectors, back_up, restore
from memory.vectors.exact import scan, to_bytes

SECRET = "zanzibar canary"


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKE_CHROMA))
    monkeypatch.setattr("memory.vectors.index._QUIET_S", 0.05)


def stored(memory: Memory) -> set[int]:
    """The passages that have a vector."""
    return {row["passage_id"] for row in memory._call(memory._database.query, "SELECT * FROM vectors")}


# Making them


def test_passages_get_their_vectors_in_the_background(path: Path) -> None:
    with Memory(path, embedder=Letters()) as memory:
        tell(memory, "zzz zz", "qqq")
        memory.start_indexing()
        block_until(lambda: len(stored(memory)) == 2)
        session = tell(memory, "www")
        block_until(lambda: len(stored(memory)) == 3)
        assert memory.search("zzzz")[0].text == "zzz zz"  # no word in common
        memory.delete_session(session)
        assert len(stored(memory)) == 2


def test_vectors_of_another_model_are_remade(path: Path) -> None:
    for told, name in enumerate(("model b", "model a", "model c"), 1):
        with Memory(path, embedder=Signs(name)) as memory:
            tell(memory, f"said with {name}")
            ready(memory)
            assert memory.index_status().embedded == told
            assert (meanings(memory, f"said with {name}") or [0])[0] == told
            assert len(meanings(memory, "anything", 9) or ()) == told
            assert memory._call(memory._database.query, "SELECT DISTINCT embedder FROM vectors")[0][0] == name


def test_a_text_that_crashes_the_model_is_skipped_and_the_others_are_embedded(path: Path) -> None:
    embedder = Letters()
    with Memory(path, embedder=embedder) as memory:
        tell(memory, "aaa", "a bottle of poison", "bbb", "more poison", "ccc")
        ready(memory)
        assert stored(memory) == {1, 3, 5}
        assert (memory.index_status().embedded, memory.index_status().passages) == (3, 5)
        assert memory.search("bottle")[0].text == "a bottle of poison"
        asked = len(embedder.asked)
        tell(memory, "ddd")
        block_until(lambda: stored(memory) == {1, 3, 5, 6})
        assert all("poison" not in text for texts in embedder.asked[asked:] for text in texts)


def test_a_passage_that_is_forgotten_while_it_is_embedded_gets_no_vector(path: Path) -> None:
    embedder = Signs()
    with Memory(path, embedder=embedder) as memory:
        session = tell(memory, "stays", SECRET)
        [_, secret] = memory.messages(session)
        embedder.before_answering = lambda: memory.long_term.forget([secret.id])
        ready(memory)
        assert stored(memory) == {1}
        assert files_with(path.parent, embedder.traces(SECRET)) == []


def test_progress_is_reported_without_counting_at_every_batch(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    counts = StoredVectors.counts

    def counting(vectors: StoredVectors, embedder: str) -> tuple[int, int]:
        counted.append(counts(vectors, embedder))
        return counted[-1]

    monkeypatch.setattr(StoredVectors, "counts", counting)
    monkeypatch.setattr("memory.vectors.passages._BATCH", 1)
    monkeypatch.setattr("memory.vectors.passages._COUNT_S", 1e9)
    embedder = Letters()
    seen = []
    with Memory(path, embedder=embedder) as memory:
        embedder.before_answering = lambda: seen.append(memory.index_status().embedded)
        tell(memory, *(f"message {number}" for number in range(20)))
        ready(memory)
        assert (memory.index_status().embedded, memory.index_status().passages) == (20, 20)
    assert seen == list(range(20))
    assert counted == [(20, 0), (20, 20)]


def test_two_processes_that_embed_the_same_passage_store_one_vector(path: Path) -> None:
    with Memory(path, embedder=Signs()) as memory:
        tell(memory, "one", "two")
        vectors = memory._components.vectors._vectors
        [one, two] = to_bytes(Signs().embed(["one", "two"]))
        for _ in range(2):
            assert memory._call(vectors.add, "signs", [(2, two), (1, one), (99, one)]) == [1, 2]
        assert memory._call(vectors.missing, "signs", 10) == []
        assert memory._call(lambda: memory._components.settings.index_epoch) == "", "nothing was deleted"


# Searching


def test_a_search_does_not_wait_for_a_slow_embedder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.passages._SEARCH_WAIT_S", 0.05)
    embedder, go_on = Letters(), threading.Event()
    with Memory(path, embedder=embedder) as memory:
        tell(memory, "zzz zz", "a boat")
        ready(memory)
        embedder.before_answering = lambda: go_on.wait(30)
        assert memory.search("boat")[0].text == "a boat"
        asked = len(embedder.asked)
        assert memory.search("boat")[0].text == "a boat"
        assert len(embedder.asked) == asked, "one that is late keeps the next ones from asking"
        assert "meaning" not in memory.search("boat")[0].signals
        go_on.set()
        block_until(lambda: "meaning" in memory.search("boat")[0].signals)


def test_a_search_that_does_not_wait_any_longer_is_counted(path: Path) -> None:
    go_on = threading.Event()
    with Memory(path, embedder=(letters := Letters())) as memory:
        tell(memory, "boat")
        ready(memory)
        memory._components.vectors._time_limit._seconds = 0.01
        letters.before_answering = lambda: go_on.wait(60)
        memory.search("boat")
        assert memory.long_term.stats().timeouts == 1
        go_on.set()


def test_a_search_of_few_passages_reads_only_these_and_all_of_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.search.search._BY_MEANING", 2)
    monkeypatch.setattr("memory.search.calibration.PROBES", {})  # nothing else is searched for
    with Memory(path, embedder=Letters()) as memory:
        other = tell(memory, *["zzzz"] * 50)
        mine = tell(memory, "zzzq", "qqq")
        ready(memory)
        everywhere = memory.search("zzz", session_id=mine)
        assert {recall.session_id for recall in everywhere} == {other}, "the two nearest"
        memory.set_session(mine, scope="session")
        monkeypatch.setattr("memory.vectors.index.Index.search", None)  # it would find the nearest of all
        [nearest, *_] = within = memory.search("zzz", session_id=mine)
        assert {recall.session_id for recall in within} == {mine}
        assert nearest.text == "zzzq"
        assert nearest.signals["meaning"] == 1.0


def test_a_scan_finds_the_nearest_in_any_number_of_batches(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Letters()
    with Memory(path, embedder=embedder) as memory:
        texts = [chr(97 + number % 26) * 3 + "z" * (number % 7) for number in range(90)]
        first, second = tell(memory, *texts[:60]), tell(memory, *texts[60:])
        ready(memory)
        [question] = embedder.embed(["zza"])
        cosines = embedder.embed(texts) @ question
        vectors = memory._components.vectors._vectors

        def found(**limits: object) -> list[tuple[int, float]]:
            return scan(memory._database, vectors, "letters", question, 9, **limits)  # type: ignore[arg-type]

        assert first != second
        for batch in (7, 2_000):
            monkeypatch.setattr("memory.vectors.exact._BATCH", batch)
            best = sorted(cosines, reverse=True)[:9]
            assert [score for _, score in found()] == pytest.approx(best, abs=1e-3)
            assert all(cosines[number - 1] == pytest.approx(score, abs=1e-3) for number, score in found())
            assert {number for number, _ in found(hidden=[1])} <= set(range(61, 91))
            assert len(found(hidden=[1])) == 9
            assert {number for number, _ in found(within={3, 70})} == {3, 70}
            assert found(hidden=[1, 2]) == found(within=()) == []
        assert scan(memory._database, vectors, "another model", question, 9) == []


# Several processes


def test_a_second_process_answers_from_the_store_and_loads_the_model_for_questions_only(path: Path) -> None:
    with Memory(path, embedder=Signs()) as owner:
        tell(owner, "one", "two", "three")
        ready(owner)
        embedder = Signs()
        with Memory(path, embedder=embedder) as beside:
            beside.start_indexing()
            block_until(lambda: beside.index_status().state is IndexState.READY)
            tell(beside, "four")
            time.sleep(0.1)
            assert not embedder.asked
            assert not embedder.started
            owner.start_indexing()
            assert meanings(beside, "two", 1) == [2]
            assert embedder.asked == [["two"]]
            assert embedder.started
            assert not index_of(beside).complete


def test_a_second_process_takes_over_when_the_first_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.passages._POLL_S", 0.05)
    owner = Memory(path, embedder=Signs())
    tell(owner, "one")
    ready(owner)
    with Memory(path, embedder=Signs()) as beside:
        beside.start_indexing()
        tell(beside, "two")
        owner.close()
        block_until(lambda: stored(beside) == {1, 2})


# Forgetting


@pytest.mark.parametrize("with_embedder", [True, False])
def test_the_owner_drops_its_index_when_another_process_forgets(
    path: Path, monkeypatch: pytest.MonkeyPatch, with_embedder: bool
) -> None:
    monkeypatch.setattr("memory.vectors.passages._POLL_S", 0.05)
    traces = Signs().traces(SECRET)
    with Memory(path, embedder=Signs()) as owner:
        session = tell(owner, "one", SECRET)
        ready(owner)
        assert files_with(path.parent / "vectors", traces)
        [_, secret] = owner.messages(session)
        with Memory(path, embedder=Signs() if with_embedder else None) as beside:
            assert beside.long_term.forget([secret.id]).pending
        block_until(lambda: not files_with(path.parent, traces))
        block_until(lambda: index_of(owner).complete)
        assert meanings(owner, "one") == [1]
    assert files_with(path.parent, traces) == []


def test_an_owner_that_ends_drops_what_another_process_forgot(path: Path) -> None:
    traces = Signs().traces(SECRET)
    with Memory(path, embedder=Signs()) as owner:
        [secret] = owner.messages(tell(owner, SECRET))
        ready(owner)
        with Memory(path) as beside:
            assert beside.long_term.forget([secret.id]).pending
    assert files_with(path.parent, traces) == []


@pytest.mark.parametrize("with_embedder", [True, False])
def test_an_index_that_nobody_owns_is_deleted_at_once(path: Path, with_embedder: bool) -> None:
    traces = Signs().traces(SECRET)
    with Memory(path, embedder=Signs()) as memory:
        session = tell(memory, "one", SECRET)
        ready(memory)
    assert files_with(path.parent, traces)
    embedder = Signs() if with_embedder else None
    with Memory(path, embedder=embedder) as memory:
        assert not memory.long_term.forget([memory.messages(session)[1].id]).pending
        assert files_with(path.parent, traces) == []
        assert embedder is None or not embedder.started
        assert memory.index_status().state is IndexState.OFF
    with Memory(path, embedder=Signs()) as memory:
        ready(memory)
        assert meanings(memory, "one") == [1]


def test_a_process_that_dies_while_it_forgets_leaves_that_to_the_next(path: Path) -> None:
    traces = Signs().traces(SECRET)
    with Memory(path, embedder=Signs()) as memory:
        [secret] = memory.messages(tell(memory, SECRET))
        ready(memory)
    with Memory(path) as memory:
        memory._call(memory._components.ingest.forget, [secret.id])
    assert files_with(path.parent / "vectors", traces)
    Memory(path).close()
    assert files_with(path.parent, traces) == []


def test_forgetting_what_has_no_vector_keeps_the_index(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openings = count_openings(monkeypatch)
    with Memory(path, embedder=Signs()) as memory:
        tell(memory, "one")
        ready(memory)
        with monkeypatch.context() as patch:
            patch.setattr(StoredVectors, "missing", lambda *_, **__: [])
            [message] = memory.messages(tell(memory, "two"))
            memory.long_term.forget([message.id])
        assert index_of(memory).complete
    with Memory(path) as memory:
        [message] = memory.messages(tell(memory, "three"))
        assert not memory.long_term.forget([message.id]).pending
    with Memory(path, embedder=Signs()) as memory:
        monkeypatch.setattr("memory.vectors.index.Index._fill", lambda _: False)
        ready(memory)
    assert len(openings) == 2


def test_without_an_index_nothing_is_pending(path: Path) -> None:
    for embedder in (Signs(), None):
        with Memory(path, embedder=embedder) as memory:
            [message] = memory.messages(tell(memory, "aaa"))
            assert not memory.long_term.forget([message.id]).pending
    assert not (path.parent / "vectors").exists(), "none was made for it"


# Older files, and backups


def test_the_folder_of_an_earlier_version_is_deleted(path: Path) -> None:
    folder = path.parent / "vectors"
    (folder / "gen-0001").mkdir(parents=True)
    (folder / "gen-0001" / "chroma.sqlite3").write_text("old vectors")
    (folder / "current.json").write_text(
        '{"collection": "passages-1", "store": "", "shards": {"0": "gen-0001"}}'
    )
    (folder / "clean").touch()
    with Memory(path, embedder=Signs()) as memory:
        tell(memory, "one")
        ready(memory)
        assert {file.name for file in folder.iterdir()} == {"chroma"}


def test_a_backup_holds_the_vectors_and_a_restored_store_trusts_no_older_index(
    path: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.db"
    with Memory(path, embedder=Signs()) as memory:
        tell(memory, "one", "two")
        ready(memory)
        back_up(path, backup)
        tell(memory, SECRET)
        block_until(lambda: stored(memory) == {1, 2, 3})
    restore(backup, path)
    with Memory(path) as memory:
        tell(memory, "three")  # gets the number that the secret had
        rows = zip([3], to_bytes(Signs().embed(["three"])), strict=True)
        assert memory._call(memory._components.vectors._vectors.add, "signs", rows) == [3]
    embedder = Signs()
    with Memory(path, embedder=embedder) as memory:
        ready(memory)
        assert embedder.asked == []
        assert meanings(memory, "three", 1) == [3]
        assert meanings(memory, "two", 1) == [2]
        assert files_with(path.parent / "vectors", embedder.traces(SECRET)) == []
    shutil.rmtree(path.parent / "vectors")
    restore(backup, path)
    with Memory(path, embedder=(embedder := Signs())) as memory:
        ready(memory)
        assert not embedder.asked
