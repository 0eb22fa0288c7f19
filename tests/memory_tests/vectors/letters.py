"""An embedder and an index without a model and without files: texts that share letters are similar."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memory.errors import IndexUnavailable, TextRefused
from memory.ports import Vectors

__all__ = ["LetterIndexes", "Letters"]

POISON = "poison"


class Letters:
    """An `Embedder`. A text with "poison" in it is refused.

    Attributes:
        asked: every list of texts that it was given.
        started: how often it was started.
        before_answering: called while a caller waits.
    """

    def __init__(self, name: str = "letters") -> None:
        self.name = name
        self.dimension = 26
        self.ready = True
        self.asked: list[list[str]] = []
        self.started = 0
        self.before_answering: Callable[[], object] = lambda: None

    def start(self) -> None:
        self.started += 1

    def close(self) -> None: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked.append(list(texts))
        self.before_answering()
        for row, text in enumerate(texts):
            if POISON in text:
                raise TextRefused(row, "it ended with exit code 9")
        counts = np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)
        unit: Vectors = counts / np.linalg.norm(counts, axis=1, keepdims=True).clip(1e-9)
        return unit


class LetterIndex:
    """A `VectorIndex` on the vectors of its `LetterIndexes`."""

    def __init__(self, all_of_them: LetterIndexes) -> None:
        self._home = all_of_them

    def search(
        self, vector: Vectors, count: int, within: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        among = self._home.vectors.items()
        alike = sorted(
            ((float(v @ vector), n) for n, v in among if within is None or n in within), reverse=True
        )
        return [(number, score) for score, number in alike[:count]]

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        self._home.vectors |= dict(zip(ids, vectors, strict=True))

    def remove(self, ids: Sequence[int]) -> None:
        for number in ids:
            self._home.vectors.pop(number, None)

    def ids(self) -> set[int]:
        return set(self._home.vectors)

    def clear(self) -> None:
        self._home.vectors.clear()

    def close(self) -> None:
        self._home.open -= 1


class LetterIndexes:
    """Replaces `memory.vectors.chroma.open_index`: one "disk", which one index at a time may have open.

    Attributes:
        vectors: what is on the disk.
        open: how many have it open.
        refused: how many were told that another one has it.
    """

    def __init__(self) -> None:
        self.vectors: dict[int, Vectors] = {}
        self.open = self.refused = 0

    def __call__(self, folder: Path, **_: Any) -> LetterIndex:
        if self.open:
            self.refused += 1
            raise IndexUnavailable("another stevemin has it")
        folder.mkdir(exist_ok=True)
        self.open += 1
        return LetterIndex(self)
