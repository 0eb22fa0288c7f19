"""The one thread that talks to the embedding worker, and restarts it when it fails."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection
from threading import Condition, Thread

from memory.errors import EmbedderUnavailable, TextRefused
from memory.vectors.embedding_process import EmbeddingProcess, WorkerFailed
from memory.vectors.embedding_queue import Batch, Job, Lanes

__all__ = ["EmbeddingThread", "Restarts"]

_log = logging.getLogger(__name__)

_TRIES = 2
_POLL_S = 1.0
_CLOSED = "The embedding model was closed."


class EmbeddingThread:
    """Feeds jobs to a worker, one batch at a time. The public methods may be called from any thread.

    Args:
        spawn: starts a worker; raises `WorkerFailed`.
        restarts: when a failed worker may be restarted.
        load_timeout_s: a worker that takes longer to load counts as hung.
        answer_timeout_s: so does one that takes longer for a batch.
    """

    def __init__(
        self,
        spawn: Callable[[], EmbeddingProcess],
        restarts: Restarts,
        *,
        load_timeout_s: float,
        answer_timeout_s: float,
    ) -> None:
        self._spawn = spawn
        self._restarts = restarts
        self._load_timeout_s = load_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._work = Condition()  # guards everything below
        self._lanes = Lanes()
        self._process: EmbeddingProcess | None = None
        self._thread: Thread | None = None
        self._wanted = False
        self._closed = False
        self._reason = ""

    @property
    def process(self) -> EmbeddingProcess | None:
        """The worker, while there is one; it may be loading or dead."""
        return self._process

    def start(self) -> None:
        """Keep a worker running from now on: a dead one is replaced, if need be after a pause."""
        with self._work:
            self._want_worker()

    def submit(self, job: Job) -> None:
        """Queue a job; its result will be the vectors or an `EmbedderUnavailable`.

        Raises:
            EmbedderUnavailable: workers keep failing, or it is closed.
        """
        with self._work:
            if self._closed:
                raise EmbedderUnavailable(_CLOSED)
            if pause_s := self._restarts.pause_left_s:
                raise EmbedderUnavailable(self._pause_sentence(pause_s))
            self._lanes.add(job)
            self._want_worker()

    def close(self) -> None:
        """End worker and thread; pending jobs fail. Safe to call twice."""
        with self._work:
            self._closed = True
            process, thread = self._process, self._thread
            self._work.notify_all()
        if process is not None:
            process.kill()
        if thread is not None:
            thread.join()

    def _want_worker(self) -> None:
        if self._closed:
            return
        self._wanted = True
        if self._thread is None:
            self._thread = Thread(target=self._run, name="memory-embedder", daemon=True)
            self._thread.start()
        self._work.notify_all()

    # The rest runs on the thread itself.

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._do_some_work()
        finally:
            self._end()

    def _wait_for_work(self) -> bool:
        with self._work:
            while not (self._closed or self._lanes or self._needs_worker()):
                self._work.wait(_POLL_S)  # nothing signals the death of an idle worker
            return not self._closed

    def _needs_worker(self) -> bool:
        if not self._wanted or self._restarts.pause_left_s:
            return False
        return self._process is None or not self._process.alive

    def _do_some_work(self) -> None:
        batch: Batch | None = None
        try:
            process = self._running_process()
            with self._work:
                batch = self._lanes.take()
            if batch is not None:
                vectors = process.embed(batch.texts, urgent=batch.urgent, timeout_s=self._answer_timeout_s)
                batch.deliver(vectors)
        except Exception as failure:  # even if it is not the worker's fault: a caller is waiting
            self._recover(batch, failure)

    def _running_process(self) -> EmbeddingProcess:
        process = self._process
        if process is None:
            with self._work:
                if self._closed:
                    raise WorkerFailed("it was closed")
                process = self._process = self._spawn()
            process.load(self._load_timeout_s)
        elif not process.alive:
            raise WorkerFailed(process.describe_end())
        return process

    def _recover(self, batch: Batch | None, failure: Exception) -> None:
        self._drop_process()
        with self._work:
            culprit = batch.culprit if batch is not None else None
            if batch is not None:
                self._lanes.put_back(batch)
            if self._closed:
                return
            ours = not isinstance(failure, WorkerFailed)
            _log.warning("the embedding worker failed: %s", failure, exc_info=failure if ours else None)
            self._reason = str(failure) or type(failure).__name__
            delay_s = self._restarts.record_failure()
            # Jobs that only waited in the queue are not to blame for the worker's death.
            if culprit is not None:
                self._refuse(*culprit)
            elif batch is None:
                self._count_failure(self._lanes.jobs())
            if pause_s := self._restarts.pause_left_s:
                self._fail_all(self._pause_sentence(pause_s))
            else:
                self._work.wait_for(lambda: self._closed, delay_s)

    def _fail_all(self, sentence: str) -> None:
        _fail(self._lanes.jobs(), sentence)
        self._lanes = Lanes()  # a job left in it would start a worker during the pause

    def _refuse(self, job: Job, row: int) -> None:
        if not job.over:
            job.result.set_exception(TextRefused(row, self._reason))

    def _count_failure(self, jobs: Collection[Job]) -> None:
        for job in jobs:
            job.failures += 1
        emptied = [job for job in jobs if job.failures >= _TRIES]
        _fail(emptied, f"The embedding model failed twice: {self._reason}.")

    def _pause_sentence(self, pause_s: float) -> str:
        return f"The embedding model keeps failing: {self._reason}. The next try is in {pause_s:.0f} s."

    def _drop_process(self) -> None:
        with self._work:
            process, self._process = self._process, None
        if process is not None:
            process.close()

    def _end(self) -> None:
        self._drop_process()
        with self._work:
            self._closed = True
            self._fail_all(_CLOSED)


def _fail(jobs: Collection[Job], sentence: str) -> None:
    for job in jobs:
        if not job.over:
            job.result.set_exception(EmbedderUnavailable(sentence))


class Restarts:
    """A circuit breaker: a short delay after a failure, a long pause after several.

    Args:
        limit: how many failures within `window_s` trigger a pause.
        window_s: must exceed the time that `limit` starts take to time out, or those never trigger a pause.
        pause_s: length of a pause; one more failure within the window triggers the next.
        delay_s: before the second start; doubled before each further one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        limit: int = 3,
        window_s: float = 600.0,
        pause_s: float = 300.0,
        delay_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._pause_s = pause_s
        self._delay_s = delay_s
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=limit)
        self._paused_until = clock()

    @property
    def pause_left_s(self) -> float:
        """Seconds until the pause ends; 0 if there is none."""
        return max(0.0, self._paused_until - self._clock())

    def record_failure(self) -> float:
        """Record a failure; returns the seconds to wait before the next start."""
        now = self._clock()
        while self._failures and now - self._failures[0] > self._window_s:
            self._failures.popleft()
        self._failures.append(now)
        if len(self._failures) == self._limit:
            self._paused_until = now + self._pause_s
            return self._pause_s
        return self._delay_s * 2.0 ** (len(self._failures) - 1)
