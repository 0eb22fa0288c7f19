"""What an embedder leaves behind: no process, no thread, no open file, nothing on the screen."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from memory_tests.vectors.embedding_kit import Fake, batches, fakes, lines
from waiting import block_until

from memory.errors import EmbedderUnavailable

ROOT = Path(__file__).parents[3]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    with fakes(tmp_path) as make:
        yield make


def test_closing_fails_pending_and_later_calls(fake: Fake, tmp_path: Path) -> None:
    embedder = fake("waits-for-a-sign")
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(embedder.embed, texts) for texts in (["1"], ["2"], ["3", "4"])]
        block_until(lambda: len(batches(tmp_path)) == 1)
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
    fake("works").embed(["1"])  # what is opened once and kept open
    before = us.num_fds(), set(threading.enumerate()), set(us.children())
    for round_ in range(3):
        embedder = fake(behaviour)
        embedder.start()
        block_until(lambda wanted=round_ + 2: len(lines(tmp_path / "starts")) >= wanted)  # type: ignore[misc]
        embedder.close()
        embedder.close()
    assert (us.num_fds(), set(threading.enumerate()), set(us.children())) == before


def test_closing_during_a_start_leaves_nothing_behind(fake: Fake) -> None:
    us = psutil.Process()
    before = us.num_fds(), set(threading.enumerate()), set(us.children())
    for _ in range(20):
        embedder = fake("hangs-loading")
        embedder.start()
        embedder.close()
    assert (us.num_fds(), set(threading.enumerate()), set(us.children())) == before


PARENT = """
import time
from memory.vectors import WorkerEmbedder
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
        block_until((tmp_path / "importing").exists)
        assert worker.is_running()
        parent.kill()
    block_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_the_workers_output_does_not_reach_the_screen(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    fake("works").embed(["1"])
    assert capfd.readouterr() == ("", "")
