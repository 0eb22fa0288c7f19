"""Embedders without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from memory.errors import TextRefused
from memory.ports import Vectors

__all__ = ["Letters", "Signs"]

POISON = "poison"


class Letters:
    """An `Embedder`: texts that share letters are similar. A text with "poison" in it is refused.

    Attributes:
        asked: every list of texts that it was given.
        started: how often it was started.
        before_answering: called while a caller waits.
    """

    def __init__(self, name: str = "letters") -> None:
        self.name = name
        self.recipe = name
        self.dimension = 26
        self.ready = True
        self.asked: list[list[str]] = []
        self.started = 0
        self.before_answering: Callable[[], object] = lambda: None

    def start(self) -> None:
        self.started += 1

    def close(self) -> None: ...

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        self.asked.append(list(texts))
        self.before_answering()
        for row, text in enumerate(texts):
            if POISON in text:
                raise TextRefused(row, "it ended with exit code 9")
        return self._vectors(texts)

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        counts = np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)
        unit: Vectors = counts / np.linalg.norm(counts, axis=1, keepdims=True).clip(1e-9)
        return unit


class Signs(Letters):
    """Each text gets a vector whose bytes no other text has; no rounding or normalisation changes them.

    64 numbers of ±1/8 are exactly of length 1. Two texts have a cosine near 0.
    """

    def __init__(self, name: str = "signs") -> None:
        super().__init__(name)
        self.dimension = 64

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        hashes = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
        bits = np.unpackbits(np.frombuffer(hashes, np.uint8)).reshape(len(texts), 64)
        vectors: Vectors = np.where(bits, np.float32(1 / 8), np.float32(-1 / 8))
        return vectors

    def traces(self, text: str) -> tuple[bytes, bytes]:
        """The bytes of its vector in SQLite, and in Chroma."""
        [vector] = self._vectors([text])
        return vector.astype("<f2").tobytes(), vector.astype("<f4").tobytes()
