"""The queue of texts to embed, and the order in which they are served."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from memory.ports import Vectors

__all__ = ["Batch", "Job", "Lanes"]

# A search waits for at most one running batch, which runs at low priority. 1,024 padded characters are
# about 250 tokens; on a CPU larger batches take the same time per text.
_BATCH_TEXTS = 32
_BATCH_CHARACTERS = 1024


class Job:
    """One call for vectors: its texts, and the rows received so far.

    Attributes:
        failures: how often no worker could be started since the last row arrived.
        suspects: rows on which a worker failed. Each is retried alone, to find the culprit.
        abandoned: no caller is waiting for it any more.
        result: (texts, dimension), or the error.
    """

    def __init__(self, texts: Sequence[str], dimension: int) -> None:
        self.texts = texts
        self.failures = 0
        self.suspects: set[int] = set()
        self.abandoned = False
        self.result: Future[Vectors] = Future()
        self._vectors = np.empty((len(texts), dimension), np.float32)
        self._missing = len(texts)

    @property
    def over(self) -> bool:
        """Whether no more rows are wanted."""
        return self.abandoned or self.result.done()

    def set_row(self, row: int, vector: Vectors) -> None:
        """Set one text's vector; the last one completes the job."""
        self._vectors[row] = vector
        self._missing -= 1
        self.failures = 0
        if not self._missing:
            self.result.set_result(self._vectors)


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that go through the model together: rows of one job or of several.

    Attributes:
        urgent: these are searches, for which users wait.
    """

    rows: tuple[tuple[Job, int], ...]
    urgent: bool

    @property
    def texts(self) -> list[str]:
        """In the order of `rows`."""
        return [job.texts[row] for job, row in self.rows]

    @property
    def jobs(self) -> set[Job]:
        """The jobs that have a text in it."""
        return {job for job, _ in self.rows}

    @property
    def culprit(self) -> tuple[Job, int] | None:
        """The text on which a worker failed before, if this batch is that text alone."""
        (job, row), *others = self.rows
        return (job, row) if not others and row in job.suspects else None

    def deliver(self, vectors: Vectors) -> None:
        """Give each job its rows."""
        for (job, row), vector in zip(self.rows, vectors, strict=True):
            job.set_row(row, vector)


class Lanes:
    """Two queues: jobs of a single text (searches) go before those of many (bulk work)."""

    def __init__(self) -> None:
        self._urgent: deque[tuple[Job, int]] = deque()
        self._bulk: deque[tuple[Job, int]] = deque()

    def __bool__(self) -> bool:
        return bool(self._urgent or self._bulk)

    def add(self, job: Job) -> None:
        """Queue all texts of a job."""
        lane = self._urgent if len(job.texts) == 1 else self._bulk
        # Texts of a batch are padded to its longest: like lengths together.
        rows = sorted(range(len(job.texts)), key=lambda row: len(job.texts[row]))
        lane.extend((job, row) for row in rows)

    def take(self) -> Batch | None:
        """The next batch; None if nothing is queued."""
        for lane in (self._urgent, self._bulk):
            if rows := _fill_batch(lane):
                return Batch(tuple(rows), urgent=lane is self._urgent)
        return None

    def put_back(self, batch: Batch) -> None:
        """Requeue a batch on which a worker failed, at the front of its lane."""
        for job, row in batch.rows:
            job.suspects.add(row)
        (self._urgent if batch.urgent else self._bulk).extendleft(reversed(batch.rows))

    def jobs(self) -> set[Job]:
        """All queued jobs."""
        return {job for lane in (self._urgent, self._bulk) for job, _ in lane}


def _fill_batch(lane: deque[tuple[Job, int]]) -> list[tuple[Job, int]]:
    rows: list[tuple[Job, int]] = []
    longest = 0
    while lane and len(rows) < _BATCH_TEXTS:
        job, row = lane[0]
        suspect = row in job.suspects
        if not job.over:
            longest = max(longest, len(job.texts[row]))
            if rows and longest * (len(rows) + 1) > _BATCH_CHARACTERS:
                break
            rows.append((job, row))
        lane.popleft()
        if rows and suspect:
            break
    return rows
