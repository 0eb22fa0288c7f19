"""Embeds texts in a separate process, so that PyTorch never stalls the screen or the token stream."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread

import numpy as np

from memory.errors import EmbedderUnavailable, TextRefused
from memory.ports import Vectors
from memory.text import storable
from memory.vectors.model import EmbeddingModel, find_model
from memory.vectors.supervisor import Restarts, Worker, WorkerFailed, program
from memory.vectors.workers import embedding
from memory.vectors.workers.embedding import EMBED, ERROR, READY, VECTORS

__all__ = ["WorkerEmbedder"]

_log = logging.getLogger(__name__)

# A model sees 512 tokens at most. Eight characters for each are more than languages need; the rest would only
# keep the tokenizer busy.
_MAX_CHARACTERS = 4096
# A search waits for at most one running batch, which runs at low priority. 1,024 padded characters are
# about 250 tokens; on a CPU larger batches take the same time per text.
_BATCH_TEXTS = 32
_BATCH_CHARACTERS = 1024
_MAX_ANSWER_BYTES = 1 << 20
_TRIES = 2
_POLL_S = 1.0


class WorkerEmbedder:
    """An embedding model in a worker process; by sentence-transformers, unless told otherwise. Thread-safe.

    One thread talks to the worker, one batch at a time. Nothing runs before `start` or the first `embed`. A
    worker that dies or hangs is replaced, and its batch is retried once, one text at a time. After several
    failures `embed` fails immediately for some minutes; then the next worker is started.

    Args:
        model: what to load; by default the installed package's.
        threads: how many threads PyTorch may use.
        command: the worker's program, which `memory.vectors.serve` makes of a model of any kind. It gets the
            socket, the model's path, the number of threads and the mode.
        mode: what the worker shall do.
        load_timeout_s: a worker that takes longer to load counts as hung.
        answer_timeout_s: so does one that takes longer for a batch, 32 short texts at most.
        restarts: when a failed worker may be restarted.

    Raises:
        EmbedderUnavailable: the model's packages are not installed.
    """

    def __init__(
        self,
        model: EmbeddingModel | None = None,
        *,
        threads: int = 1,
        command: Sequence[str] = program(embedding.__file__),
        mode: str = EMBED,
        load_timeout_s: float = 180.0,
        answer_timeout_s: float = 60.0,
        restarts: Restarts | None = None,
    ) -> None:
        self._model = model or find_model()
        self._command = command
        self._arguments = (str(self._model.path), str(threads), mode)
        self._what = "embedding model" if mode == EMBED else "reranker"
        self._unit_length = mode == EMBED
        self._load_timeout_s = load_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._work = Condition()  # guards everything below
        self._restarts = restarts or Restarts()
        self._searches: deque[_Job] = deque()  # served before
        self._bulk: deque[_Job] = deque()
        self._worker: Worker | None = None  # may be loading or dead
        self._loaded = False
        self._thread: Thread | None = None
        self._closed = False
        self._failed_starts = 0
        self._reason = ""

    @property
    def name(self) -> str:
        """Identifies weights and preprocessing; vectors of different names cannot be compared."""
        return self._model.name

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._model.dimension

    @property
    def recipe(self) -> str:
        """See `memory.ports.Embedder`."""
        return self._model.recipe

    @property
    def ready(self) -> bool:
        """Whether `embed` can answer without loading the model first."""
        worker = self._worker
        return worker is not None and self._loaded and worker.alive

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, while there is one."""
        worker = self._worker
        return worker.pid if worker is not None else None

    def start(self) -> None:
        """Keep a worker running from now on: a dead one is replaced, if need be after a pause. Returns
        immediately; may be repeated."""
        with self._work:
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._run, name="memory-embedder", daemon=True)
                self._thread.start()

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """One row of length 1 per text; blocks only the calling thread.

        A single text (a search) is served before longer lists. Only the first tokens of a text count, as many
        as the model reads, 512 at most.

        Args:
            query: the texts are questions, not passages.

        Returns:
            float32, (len(texts), dimension).

        Raises:
            EmbedderUnavailable: the worker failed twice, keeps failing or was closed.
            TextRefused: it failed on one of the texts, and again on that text alone.
        """
        prefix = self._model.prefixes.query if query else self._model.prefixes.passage
        return self.rows(texts, prefix=prefix, urgent=len(texts) == 1)

    def rows(self, texts: Sequence[str], *, prefix: str, urgent: bool) -> Vectors:
        """As `embed`.

        Args:
            prefix: what the worker gets with each text.
            urgent: somebody waits: served before calls that are not.
        """
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        job = _Job(
            [storable(text[:_MAX_CHARACTERS]) for text in texts],
            storable(prefix[:_MAX_CHARACTERS]),
            self.dimension,
            urgent=urgent,
        )
        with self._work:
            if self._closed:
                raise EmbedderUnavailable(self._closed_sentence)
            if self._restarts.pause_left_s:
                raise EmbedderUnavailable(self._pause_sentence)
            (self._searches if urgent else self._bulk).append(job)
            self._work.notify_all()
            self.start()
        return job.result.result()

    def close(self) -> None:
        """End the worker and its thread; pending calls fail. Safe to call twice."""
        with self._work:
            self._closed = True
            worker, thread = self._worker, self._thread
            self._work.notify_all()
        if worker is not None:
            worker.kill()
        if thread is not None:
            thread.join()

    # The rest runs on the thread.

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._do_some_work()
        finally:
            self._drop_worker()
            with self._work:
                self._closed = True
                self._fail_all(self._closed_sentence)

    def _wait_for_work(self) -> bool:
        with self._work:
            while not (self._closed or self._searches or self._bulk or self._needs_worker()):
                self._work.wait(_POLL_S)  # nothing signals the death of an idle worker
            return not self._closed

    def _needs_worker(self) -> bool:
        return not self._restarts.pause_left_s and (self._worker is None or not self._worker.alive)

    def _do_some_work(self) -> None:
        job: _Job | None = None
        rows: list[int] = []
        try:
            worker = self._running_worker()
            self._failed_starts = 0
            job = self._next_job()
            if job is not None:
                rows = job.take()
                job.set(rows, self._embed(worker, job, rows))
        except Exception as failure:  # even if it is not the worker's fault: a caller is waiting
            self._recover(job, rows, failure)

    def _next_job(self) -> _Job | None:
        with self._work:
            for queue in (self._searches, self._bulk):
                while queue and queue[0].result.done():
                    queue.popleft()
                if queue:
                    return queue[0]
            return None

    def _running_worker(self) -> Worker:
        worker = self._worker
        if worker is None:
            with self._work:
                if self._closed:
                    raise WorkerFailed("it was closed")
                worker = self._worker = Worker(
                    self._command,
                    self._arguments,
                    silence_s=self._answer_timeout_s,
                    most_bytes=_MAX_ANSWER_BYTES,
                )
            answer = worker.receive(self._load_timeout_s)
            if answer != READY + b"%d" % self.dimension:
                if answer[:1] == READY:
                    raise WorkerFailed(f"its vectors have not {self.dimension} numbers, as its settings say")
                _refuse(answer)
            self._loaded = True
        elif not worker.alive:
            raise WorkerFailed(worker.describe_end())
        return worker

    def _embed(self, worker: Worker, job: _Job, rows: Sequence[int]) -> Vectors:
        texts = [job.texts[row] for row in rows]
        request = {"urgent": job.urgent, "prefix": job.prefix, "texts": texts}
        answer = worker.ask(json.dumps(request).encode(), self._answer_timeout_s)
        if answer[:1] != VECTORS or len(answer) != 1 + 4 * len(texts) * self.dimension:
            _refuse(answer)
        vectors = np.frombuffer(answer, np.float32, offset=1).reshape(len(texts), self.dimension)
        if self._unit_length and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
            raise WorkerFailed("it answered with vectors that are not of length 1")
        if not np.isfinite(vectors).all():
            raise WorkerFailed("it answered with numbers that are not finite")
        return vectors

    def _recover(self, job: _Job | None, rows: Sequence[int], failure: Exception) -> None:
        self._drop_worker()
        with self._work:
            if self._closed:
                return
            ours = not isinstance(failure, WorkerFailed)
            _log.warning("the embedding worker failed: %s", failure, exc_info=failure if ours else None)
            self._reason = str(failure) or type(failure).__name__
            delay_s = self._restarts.record_failure()
            # Jobs that only waited in the queue are not to blame for the worker's death.
            if job is not None:
                job.put_back(rows, self._reason)
            else:
                self._failed_starts += 1
                if self._failed_starts >= _TRIES:
                    self._failed_starts = 0
                    self._fail_all(f"The {self._what} failed twice: {self._reason}.")
            if self._restarts.pause_left_s:
                self._fail_all(self._pause_sentence)  # a job that waited would start a worker in the pause
            else:
                self._work.wait_for(lambda: self._closed, delay_s)

    def _fail_all(self, sentence: str) -> None:
        for job in (*self._searches, *self._bulk):
            if not job.result.done():
                job.result.set_exception(EmbedderUnavailable(sentence))
        self._searches.clear()
        self._bulk.clear()

    @property
    def _closed_sentence(self) -> str:
        return f"The {self._what} was closed."

    @property
    def _pause_sentence(self) -> str:
        left_s = self._restarts.pause_left_s
        return f"The {self._what} keeps failing: {self._reason}. The next try is in {left_s:.0f} s."

    def _drop_worker(self) -> None:
        with self._work:
            worker, self._worker, self._loaded = self._worker, None, False
        if worker is not None:
            worker.close()


class _Job:
    """One call for vectors: its texts, and the rows received so far.

    Attributes:
        result: (texts, dimension), or the error.
    """

    def __init__(self, texts: Sequence[str], prefix: str, dimension: int, *, urgent: bool) -> None:
        self.texts = texts
        self.prefix = prefix
        self.urgent = urgent
        self.result: Future[Vectors] = Future()
        self._vectors = np.empty((len(texts), dimension), np.float32)
        # Texts of a batch are padded to its longest: like lengths together.
        self._waiting = deque(sorted(range(len(texts)), key=lambda row: len(texts[row])))
        self._suspects: set[int] = set()  # rows on which a worker failed: each is retried alone

    def take(self) -> list[int]:
        """The rows of the next batch."""
        rows = [self._waiting.popleft()]
        while self._waiting and len(rows) < _BATCH_TEXTS and rows[0] not in self._suspects:
            longest = len(self.texts[self._waiting[0]])
            if longest * (len(rows) + 1) > _BATCH_CHARACTERS or self._waiting[0] in self._suspects:
                break
            rows.append(self._waiting.popleft())
        return rows

    def set(self, rows: Sequence[int], vectors: Vectors) -> None:
        """Set the vectors of a batch; the last ones complete the job."""
        self._vectors[rows] = vectors
        if not self._waiting:
            self.result.set_result(self._vectors)

    def put_back(self, rows: Iterable[int], reason: str) -> None:
        """Retry a batch on which a worker failed, unless it was a single text that failed before."""
        rows = list(rows)
        if self._suspects.issuperset(rows):
            self.result.set_exception(TextRefused(rows[0], reason))
        self._suspects.update(rows)
        self._waiting.extendleft(reversed(rows))


def _refuse(answer: bytes) -> None:
    if answer[:1] == ERROR:
        raise WorkerFailed(" ".join(answer[1:300].decode(errors="replace").split()))
    raise WorkerFailed(f"its answer of {len(answer)} bytes is invalid")
