"""Every way in which an embedding worker can fail. The worker has no model."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from memory_tests.vectors.embedding_kit import TIMEOUT_S, Fake, batches, degrees, fakes, lines
from waiting import block_until

from memory.errors import EmbedderUnavailable, TextRefused
from memory.vectors.embedder import WorkerEmbedder
from memory.vectors.model import EmbeddingModel
from memory.vectors.supervisor import Restarts


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    with fakes(tmp_path) as make:
        yield make


@pytest.mark.parametrize("behaviour", ["dies-at-first-start", "dies-at-first-batch", "hangs-at-first-batch"])
def test_one_failure_goes_unnoticed(fake: Fake, tmp_path: Path, behaviour: str) -> None:
    timeout_s = 0.5 if behaviour == "hangs-at-first-batch" else TIMEOUT_S
    embedder = fake(behaviour, answer_timeout_s=timeout_s)
    assert degrees(embedder.embed(["10", "20"])) == [10, 20]
    assert len(lines(tmp_path / "starts")) == 2
    assert embedder.ready


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("dies-at-once", "exit code 7"),
        ("cannot-load", "ImportError: no such library"),
        ("other-dimension", "not 2 numbers"),
        ("hangs-loading", "did not answer"),
        ("answers-nonsense", "is invalid"),
        ("answers-nothing", "is invalid"),
        ("answers-too-little", "is invalid"),
        ("answers-too-much", "more than 1,048,576 bytes"),
        ("answers-nan", "not of length 1"),
        ("answers-an-error", "MemoryError"),
    ],
)
def test_the_second_failure_is_reported(fake: Fake, tmp_path: Path, behaviour: str, reason: str) -> None:
    embedder = fake(behaviour, load_timeout_s=0.5 if behaviour == "hangs-loading" else TIMEOUT_S)
    with pytest.raises(EmbedderUnavailable, match=f"failed twice.*{reason}"):
        embedder.embed(["1"])
    assert len(lines(tmp_path / "starts")) == 2


def test_a_missing_program_is_reported(tmp_path: Path) -> None:
    embedder = WorkerEmbedder(
        EmbeddingModel(tmp_path, "fake", 2), command=[str(tmp_path / "none")], restarts=Restarts(delay_s=0.0)
    )
    with pytest.raises(EmbedderUnavailable, match="cannot be started"):
        embedder.embed(["1"])
    embedder.close()


def test_after_three_failures_it_fails_immediately_and_starts_nothing(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("dies-at-once")
    for message in ("failed twice", "keeps failing"):
        with pytest.raises(EmbedderUnavailable, match=message):
            embedder.embed(["1"])
    block_until(lambda: embedder.worker_pid is None)
    with pytest.raises(EmbedderUnavailable, match="keeps failing: it ended with exit code 7"):
        embedder.embed(["1"])
    embedder.start()
    assert len(lines(tmp_path / "starts")) == 3
    assert not embedder.ready


def test_a_waiting_job_does_not_fail_for_another_s_text(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("dies-on-poison")
    (tmp_path / "stop").touch()
    with ThreadPoolExecutor(2) as pool:
        poisoned = pool.submit(embedder.embed, ["666"])
        block_until(lambda: len(batches(tmp_path)) == 1)
        innocent = pool.submit(embedder.embed, ["5", "6"])
        block_until(lambda: len(embedder._bulk) == 1)
        (tmp_path / "stop").unlink()
        with pytest.raises(EmbedderUnavailable, match="exit code 9"):
            poisoned.result()
        assert degrees(innocent.result()) == [5, 6]
    assert len(lines(tmp_path / "starts")) == 3


def test_a_worker_that_dies_idle_is_replaced(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory.vectors.embedder._POLL_S", 0.01)
    embedder = fake("works")
    embedder.start()
    block_until(lambda: embedder.ready)
    before = embedder.worker_pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    block_until(lambda: embedder.ready and embedder.worker_pid != before)
    assert degrees(embedder.embed(["4"])) == [4]


def test_no_text_gets_into_the_log(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    embedder = fake("dies-on-poison")
    with pytest.raises(EmbedderUnavailable) as caught:
        embedder.embed(["666", "my secret"])
    assert "exit code 9" in caplog.text
    assert "secret" not in caplog.text + str(caught.value)


def test_a_bug_of_ours_leaves_no_caller_waiting(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = fake("works")

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("memory.vectors.embedder._Job.set", broken)
    with pytest.raises(EmbedderUnavailable, match="a bug"):
        embedder.embed(["1"])


def test_a_text_that_crashes_the_worker_is_singled_out(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("dies-on-poison")
    short, long = [str(number) for number in range(10, 40)], [str(number) for number in range(100, 108)]
    with pytest.raises(TextRefused, match="exit code 9") as refusal:
        embedder.embed([long[0], "666", *long, *short])
    assert refusal.value.row == 1
    first, *then = batches(tmp_path)
    assert first == [*short[:30], long[0], "666"]
    assert then == [[text] for text in first], "each alone, so that it shows which one it is"
    assert degrees(embedder.embed(["1", "2"])) == [1, 2], "two failures begin no pause"
    assert len(lines(tmp_path / "starts")) == 3


def test_a_worker_killed_during_work_is_replaced(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("waits-for-a-sign")
    numbers = [str(number) for number in range(100, 170)]
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(embedder.embed, texts) for texts in (numbers, ["1"], ["2", "3"])]
        block_until(lambda: len(batches(tmp_path)) == 1)
        before = embedder.worker_pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        (tmp_path / "go").touch()
        assert [degrees(call.result()) for call in calls] == [list(range(100, 170)), [1], [2, 3]]
    assert embedder.ready
    assert embedder.worker_pid != before


def test_after_a_pause_it_restarts_by_itself(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.vectors.embedder._POLL_S", 0.01)
    now = [0.0]
    restarts = Restarts(delay_s=0.0, clock=lambda: now[0])
    embedder = fake("dies-until-told", restarts=restarts)
    embedder.start()
    block_until(lambda: restarts.pause_left_s > 0)
    with pytest.raises(EmbedderUnavailable, match="keeps failing"):
        embedder.embed(["1"])
    assert len(lines(tmp_path / "starts")) == 3
    (tmp_path / "go").touch()
    now[0] = 301.0
    block_until(lambda: embedder.ready)
    assert degrees(embedder.embed(["1"])) == [1]
