"""Scores pairs of a question and a passage in a worker process, as the embedder's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memory.errors import EmbedderUnavailable, RerankerUnavailable
from memory.vectors.embedder import WorkerEmbedder
from memory.vectors.model import EmbeddingModel
from memory.vectors.supervisor import program
from memory.vectors.workers import embedding
from memory.vectors.workers.embedding import RERANK

__all__ = ["WorkerReranker"]


class WorkerReranker:
    """A cross-encoder in a worker process; by sentence-transformers, unless told otherwise. Thread-safe.

    To the process it is an embedder whose vectors have one number.

    Args:
        path: the model's folder or file.
        name: for people.
        threads: how many a search may use, for which somebody waits.
        command: see `WorkerEmbedder`.
    """

    def __init__(
        self, path: Path, name: str, *, threads: int = 4, command: Sequence[str] = program(embedding.__file__)
    ) -> None:
        self.name = name
        self._scorer = WorkerEmbedder(
            EmbeddingModel(path, name, 1), threads=threads, command=command, mode=RERANK
        )

    @property
    def ready(self) -> bool:
        """Whether `scores` can answer without loading the model first."""
        return self._scorer.ready

    def start(self) -> None:
        """Load the model in the background; returns immediately."""
        self._scorer.start()

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the question: higher is better, and no number means anything by itself.

        Raises:
            RerankerUnavailable: it cannot score now.
        """
        try:
            return [float(score) for score in self._scorer.rows(texts, prefix=question, urgent=True)[:, 0]]
        except EmbedderUnavailable as error:
            raise RerankerUnavailable(str(error)) from error

    def close(self) -> None:
        """Stop its worker. Safe to call twice."""
        self._scorer.close()
