"""Embedders whose worker has no model and fails on demand, and what that worker recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from memory.ports import Vectors
from memory.vectors.embedder import WorkerEmbedder
from memory.vectors.model import EmbeddingModel
from memory.vectors.supervisor import Restarts

__all__ = ["TIMEOUT_S", "Fake", "Vectors", "batches", "degrees", "fakes", "lines"]

PROGRAM = Path(__file__).with_name("fake_embedding_worker.py")
TIMEOUT_S = 60.0  # limits hangs; nothing is measured by it

Fake = Callable[..., WorkerEmbedder]


@contextmanager
def fakes(folder: Path) -> Iterator[Fake]:
    """Makes embedders whose worker shows the named behaviour, and closes them at the end."""
    made: list[WorkerEmbedder] = []

    def make(behaviour: str, *, restarts: Restarts | None = None, **settings: float) -> WorkerEmbedder:
        embedder = WorkerEmbedder(
            EmbeddingModel(folder, "fake", 2),
            command=[sys.executable, "-P", str(PROGRAM), behaviour, str(folder)],
            restarts=restarts or Restarts(delay_s=0.0),
            **settings,  # type: ignore[arg-type]  # timeouts only
        )
        made.append(embedder)
        return embedder

    try:
        yield make
    finally:
        for embedder in made:
            embedder.close()


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


def batches(folder: Path) -> list[list[str]]:
    """What the workers were given, in order."""
    return [json.loads(line)["texts"] for line in lines(folder / "batches")]


def degrees(vectors: Vectors) -> list[int]:
    """The texts for which the fake worker returns these vectors."""
    return [round(float(angle)) for angle in np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0]))]
