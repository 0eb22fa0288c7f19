"""Embeds texts in a separate process, so that PyTorch never stalls the screen or the token stream."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from memory.errors import EmbedderUnavailable
from memory.ports import Vectors
from memory.text import storable
from memory.vectors.embedding_process import WORKER_COMMAND, EmbeddingModel, EmbeddingProcess, find_model
from memory.vectors.embedding_queue import Job
from memory.vectors.embedding_thread import EmbeddingThread, Restarts

__all__ = ["WorkerEmbedder"]

# The model sees 256 tokens. Sixteen characters for each are more than languages need; the rest
# would only keep the tokenizer busy.
_MAX_CHARACTERS = 4096


class WorkerEmbedder:
    """all-MiniLM-L6-v2 by sentence-transformers, in a worker process. Thread-safe.

    Nothing runs before `start` or the first `embed`. A worker that dies or hangs is replaced, and its
    request is retried once, one text at a time. After several failures `embed` fails immediately for some
    minutes; then the next worker is started.

    Args:
        model: what to load; by default the installed package's.
        threads: how many threads PyTorch may use.
        command: the worker's program; tests pass their own.
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
        command: Sequence[str] = WORKER_COMMAND,
        load_timeout_s: float = 180.0,
        answer_timeout_s: float = 60.0,
        restarts: Restarts | None = None,
    ) -> None:
        self._model = model or find_model()
        self._thread = EmbeddingThread(
            partial(EmbeddingProcess, tuple(command), self._model, threads),
            restarts or Restarts(),
            load_timeout_s=load_timeout_s,
            answer_timeout_s=answer_timeout_s,
        )

    @property
    def name(self) -> str:
        """Identifies weights and preprocessing; vectors of different names cannot be compared."""
        return self._model.name

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._model.dimension

    @property
    def ready(self) -> bool:
        """Whether `embed` can answer without loading the model first."""
        process = self._thread.process
        return process is not None and process.loaded and process.alive

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, while there is one."""
        process = self._thread.process
        return process.pid if process is not None else None

    def start(self) -> None:
        """Load the model in the background; returns immediately. May be repeated until `ready`."""
        self._thread.start()

    def embed(self, texts: Sequence[str], *, timeout: float | None = None) -> Vectors:
        """One row of length 1 per text; blocks only the calling thread.

        A single text (a search) is served before longer lists. Only the first 256 tokens of a text count.

        Args:
            timeout: seconds to wait, including the time to load the model.

        Returns:
            float32, (len(texts), dimension).

        Raises:
            EmbedderUnavailable: the worker failed twice, keeps failing, takes too long or was closed.
            TextRefused: it failed on one of the texts, and again on that text alone.
        """
        job = Job([storable(text[:_MAX_CHARACTERS]) for text in texts], self.dimension)
        if not job.texts:
            return np.empty((0, self.dimension), np.float32)
        self._thread.submit(job)
        try:
            return job.result.result(timeout)
        except TimeoutError:
            raise EmbedderUnavailable(f"The embedding model did not answer within {timeout} s.") from None
        finally:
            job.abandoned = True

    def close(self) -> None:
        """End the worker and its thread; pending calls fail. Safe to call twice."""
        self._thread.close()
