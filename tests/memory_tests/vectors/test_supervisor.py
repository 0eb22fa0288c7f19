"""A worker process: messages, hang detection, environment, end; and when a failed one may be restarted."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memory.vectors.supervisor import Restarts, Worker, WorkerFailed

HEAD = """
import os, sys, time
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
"""
ECHO = "while True: connection.send_bytes(connection.recv_bytes())"
Start = Callable[..., Worker]


@pytest.fixture
def start() -> Iterator[Start]:
    workers: list[Worker] = []

    def run(code: str, *arguments: str, **settings: Any) -> Worker:
        worker = Worker([sys.executable, "-c", HEAD + code], arguments, **settings)
        workers.append(worker)
        return worker

    yield run
    for worker in workers:
        worker.close()


def test_messages_of_any_size_go_both_ways(start: Start) -> None:
    worker = start(ECHO)
    for size in (0, 1, 100_000, 5_000_000):
        assert worker.ask(b"x" * size, timeout_s=30) == b"x" * size
    assert worker.alive


@pytest.mark.parametrize(
    ("code", "size", "reason"),
    [
        ("time.sleep(600)", 1, r"did not answer within 0\.3 s"),
        ("time.sleep(600)", 5_000_000, "did not read a request"),
        (
            "os.write(int(sys.argv[1]), bytes([0, 0, 1, 0, 1])); time.sleep(600)",
            1,
            "in the middle of an answer",
        ),
        ("sys.exit(7)", 1, "it ended with exit code 7"),
        ("os.kill(os.getpid(), 9)", 1, "it was ended by signal 9"),
        ("connection.close(); time.sleep(600)", 1, "its connection broke"),
    ],
)
def test_every_way_not_to_answer_is_told(start: Start, code: str, size: int, reason: str) -> None:
    worker = start(code, silence_s=0.3)
    with pytest.raises(WorkerFailed, match=reason):
        worker.ask(b"x" * size, timeout_s=0.3 if "did not answer" in reason else 60)


def test_an_answer_that_is_too_long_is_refused(start: Start) -> None:
    worker = start(ECHO, most_bytes=1_000)
    with pytest.raises(WorkerFailed, match="more than 1,000 bytes"):
        worker.ask(b"x" * 1_001, timeout_s=30)


def test_a_program_that_is_not_there_is_told_and_leaves_nothing_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with pytest.raises(WorkerFailed, match="cannot be started"):
        Worker([str(tmp_path / "none")])
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_foreign_settings_stay_outside_and_credentials_do_not(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CHROMA_API_IMPL", "is_persistent", "CHROMA_CLIENT_AUTH_CREDENTIALS", "OTHER"):
        monkeypatch.setenv(name, "x")
    worker = start("connection.send_bytes(' '.join([os.getcwd(), *os.environ]).encode())")
    folder, *names = worker.receive(30).decode().split()
    assert folder == "/", "a .env in the current folder is not read"
    assert {"CHROMA_CLIENT_AUTH_CREDENTIALS", "OTHER"} <= set(names)
    assert not {"CHROMA_API_IMPL", "is_persistent"} & set(names)


def test_it_may_end_by_itself_and_is_killed_if_it_does_not(start: Start, tmp_path: Path) -> None:
    cleanup = f"""
try:
    connection.send_bytes(b'ready'); connection.recv_bytes()
except EOFError:
    open({str(tmp_path / "clean")!r}, 'w')
    time.sleep(float(sys.argv[2]))
"""
    for nap in ("0", "600"):
        worker = start(cleanup, nap)
        worker.receive(30)
        worker.close(grace_s=30 if nap == "0" else 0.3)
        assert not worker.alive
        assert nap == "600" or (tmp_path / "clean").exists()


def test_it_keeps_what_it_inherits_open(start: Start) -> None:
    reading, writing = os.pipe()
    worker = start(ECHO, keep_open=(writing,))
    os.close(writing)
    os.set_blocking(reading, False)
    assert worker.ask(b"x", timeout_s=30)
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)
    worker.kill()
    assert worker.killed
    while worker.alive:
        time.sleep(0.01)
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_delays_grow_and_the_third_failure_starts_a_pause() -> None:
    now = 0.0
    restarts = Restarts(clock=lambda: now)
    assert [restarts.record_failure(), restarts.record_failure()] == [0.5, 1.0]
    assert restarts.pause_left_s == 0
    assert restarts.record_failure() == 300
    now = 120.0
    assert restarts.pause_left_s == 180
    now = 301.0
    assert restarts.pause_left_s == 0
    restarts.record_failure()  # it is still broken
    assert restarts.pause_left_s == 300


def test_failures_far_apart_start_no_pause() -> None:
    now = 0.0
    restarts = Restarts(clock=lambda: now)
    for _ in range(10):
        now += 400.0
        restarts.record_failure()
        assert restarts.pause_left_s == 0
