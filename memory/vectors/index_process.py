"""The worker process of the vector index, as the chat sees it.

Chroma's bindings hold the interpreter's lock while they write (1,000 vectors: a quarter of a second, in
which no token and no key would get through), and a damaged search graph crashes the process that reads it.
So Chroma gets its own process; whatever happens to it becomes an exception here.

The two talk in pickled pairs over two pipes. The chat sends an `IndexSpec`, then (request name, arguments).
The worker answers (kind, value): once when chromadb is loaded, once with whether the index lacks passages,
then once per request.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from memory.errors import IndexUnavailable

__all__ = ["FAILED", "OK", "REQUESTS", "WORKING", "IndexProcess", "IndexSpec", "Watchdog", "WorkerDied"]

_PACKAGES = str(Path(__file__).parents[2])
_RUN = "import sys; sys.path.insert(0, sys.argv[1]); from memory.vectors.workers.index import main; main()"
# Chroma also reads settings from the environment; those meant for another program must not move or change
# our index. Only the credentials for a server are passed on.
_FOREIGN_PREFIX = "CHROMA_"
_FOREIGN = {"ALLOW_RESET", "ANONYMIZED_TELEMETRY", "IS_PERSISTENT", "MIGRATIONS", "PERSIST_DIRECTORY"}
_CREDENTIALS = ("CHROMA_CLIENT_AUTH_", "CHROMA_AUTH_TOKEN_", "CHROMA_SERVER_SSL_VERIFY")
# hnswlib writes buffers before it has filled them, so a removed vector could reappear in a new file, out of
# freed memory. These make the allocators of glibc and macOS overwrite memory when it is freed.
_SCRIBBLE = {"MALLOC_PERTURB_": "85", "MallocPreScribble": "1", "MallocScribble": "1"}
_LOADING_S = 60.0  # loading chromadb on a busy machine
_CLOSE_S = 10.0


class WorkerDied(Exception):
    """The process ended or had to be killed.

    Attributes:
        opening: it died while opening the index, so the files may be the cause.
    """

    def __init__(self, *, opening: bool = False) -> None:
        self.opening = opening
        super().__init__("the process of the vector index ended")


class IndexProcess:
    """Starts the process, opens the index in it, sends requests. For one thread at a time.

    Args:
        silence_s: kill it after this long without a sign of life.

    Attributes:
        rebuilt: the index is empty, or lost something.

    Raises:
        IndexUnavailable: the worker reports why it cannot answer.
        WorkerDied: the process ended instead of answering.
    """

    def __init__(self, spec: IndexSpec, *, silence_s: float) -> None:
        self._silence_s = silence_s
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-c", _RUN, _PACKAGES],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=spec.folder.anchor,  # Chroma reads the .env of the current folder
                env=_environment(),
                process_group=0,  # only the chat handles Ctrl-C, Ctrl-Z and a closed terminal
            )
        except OSError as exc:
            raise IndexUnavailable(f"The process of the vector index cannot be started: {exc}.") from exc
        self._watchdog = Watchdog(self.kill)
        try:
            self._send(spec)
            self._receive(_LOADING_S)
            self.rebuilt = self._open()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, name: str, *args: object) -> Any:
        """The answer to one of `REQUESTS`."""
        self._send((name, args))
        return self._receive()

    def stop(self) -> None:
        """Close the index and wait for the process to end; kill it if it does not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._process.stdout.close()
        self._watchdog.close()

    def kill(self) -> None:
        """Kill it now; from any thread."""
        self._process.kill()

    def _open(self) -> bool:
        try:
            return bool(self._receive())
        except WorkerDied:
            raise WorkerDied(opening=True) from None

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        # A worker that does not read would block this forever, too.
        with self._watchdog.expecting(self._silence_s):
            try:
                pickle.dump(message, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
                self._process.stdin.flush()
            except OSError:
                raise WorkerDied from None

    def _receive(self, silence_s: float | None = None) -> Any:
        assert self._process.stdout is not None
        while True:
            with self._watchdog.expecting(silence_s or self._silence_s):
                try:
                    kind, value = pickle.load(self._process.stdout)
                except (EOFError, OSError, pickle.UnpicklingError):
                    raise WorkerDied from None
            if kind == FAILED:
                raise IndexUnavailable(value)
            if kind == OK:
                return value


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _is_foreign(name.upper())}
    return kept | _SCRIBBLE


def _is_foreign(name: str) -> bool:
    if name.startswith(_CREDENTIALS):
        return False
    return name in _FOREIGN or name.startswith(_FOREIGN_PREFIX)


_POLL_S = 1.0


class Watchdog:
    """Calls `bark`, on its own thread, when a block takes too long. Watches one block at a time.

    The thread polls: starting a timer for each block took longer than many searches do.
    """

    def __init__(self, bark: Callable[[], None]) -> None:
        self._bark = bark
        self._deadline: float | None = None
        self._closed = Event()
        Thread(target=self._watch, name="memory-index-watchdog", daemon=True).start()

    @contextmanager
    def expecting(self, seconds: float) -> Iterator[None]:
        """Bark if the block takes longer than `seconds`, up to a second late."""
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = None

    def close(self) -> None:
        """Stop watching; the thread ends by itself. Safe to call twice."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(_POLL_S):
            deadline = self._deadline
            if deadline is not None and time.monotonic() > deadline:
                self._bark()


OK: Final = "ok"
FAILED: Final = "failed"  # with a sentence for the user
WORKING: Final = "working"  # no answer yet, only a sign of life
REQUESTS: Final = frozenset({"search", "add", "remove", "ids", "clear"})


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """Which index to open.

    Args:
        folder: absolute; with a server, it only stores the id of this installation's collection.
        embedder: vectors of another name or dimension belong to another collection.
        url: of a Chroma server; None: embedded.
        fresh: start empty, even if there are files.
        store: whose passages it has; vectors of another store are deleted.
    """

    folder: Path
    embedder: str
    dimension: int
    url: str | None = None
    fresh: bool = False
    store: str = ""

    @property
    def where(self) -> str:
        """Names the index in messages."""
        return self.url or str(self.folder)

    def collection(self, prefix: str, layout: str = "") -> str:
        """A valid collection name, different for each embedder."""
        identity = f"{self.embedder}\0{self.dimension}\0{layout}"
        return f"{prefix}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
