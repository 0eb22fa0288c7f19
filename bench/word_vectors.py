"""An embedder without a model: quick enough for 100,000 messages, and the same at every run."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from memory.ports import Vectors

__all__ = ["WordVectors"]

_DIMENSION = 384  # as all-MiniLM-L6-v2 has
_MARKS = re.compile(r"[^\w\s]")
_COMMON = 1.0  # what all texts have in common, as the vectors of real models do


class WordVectors:
    """A `memory.Embedder`: a text is the sum of random directions, one for each of its words.

    So texts that share words are near, and chats on one topic make a cluster, as with a real model. It
    remembers every text it was given: what is asked twice costs nothing the second time.
    """

    name = "word-vectors-384"
    dimension = _DIMENSION
    ready = True

    def __init__(self) -> None:
        self._words: dict[str, Vectors] = {}
        self._texts: dict[str, Vectors] = {}

    def start(self) -> None: ...

    def close(self) -> None: ...

    def learn(self, texts: Sequence[str]) -> None:
        """Have the vectors of these texts at hand."""
        self._texts |= dict(zip(texts, self.embed(texts), strict=True))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """As the port says."""
        known = self._texts
        return np.stack([known[text] if text in known else self._vector(text) for text in texts])

    def _vector(self, text: str) -> Vectors:
        total = np.full(_DIMENSION, _COMMON, np.float32)
        for word in _MARKS.sub(" ", text.lower()).split():
            total += self._direction(word)
        unit: Vectors = total / np.linalg.norm(total)
        return unit

    def _direction(self, word: str) -> Vectors:
        if word not in self._words:
            chance = np.random.default_rng(zlib.crc32(word.encode()))
            # Short words are mostly function words, which say little.
            weight = 0.15 if len(word) < 4 else 1.0
            self._words[word] = weight * chance.standard_normal(_DIMENSION, dtype=np.float32)
        return self._words[word]
