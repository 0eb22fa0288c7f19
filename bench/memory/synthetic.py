"""Made-up chats of any length with the statistics that search depends on, and an embedder for them.

Both are the same at every run. Half of the words are English function words. The others are invented and
follow Zipf's law, as words do: few are in every fifth message, most in hardly any. A chat keeps to a topic
with words of its own, which a question takes up again, and lengths are log-normal, with longer messages from
the model.
"""

from __future__ import annotations

import random
import re
import zlib
from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from memory import Role
from memory.ports import Vectors

__all__ = [
    "FUNCTION_WORDS",
    "SyntheticTalk",
    "WordVectors",
]


_FUNCTION = """
    the i to and a of it in that is was for you my we on with but have so this be at not are about when do had
    they just what all there can like from if or me would will your he she some out get an up as how
""".split()  # noqa: SIM905
FUNCTION_WORDS = frozenset(_FUNCTION)  # the others are invented
_ONSETS = "b br c ch d dr f fl g gr h j k l m n p pl r s st t tr v w".split()  # noqa: SIM905
_VOWELS = "a e i o u ea ai ou".split()  # noqa: SIM905
_CODAS = "n r l st m t ck ng p nd".split()  # noqa: SIM905
_FREQUENT = 60  # words per topic; the others are rare
_RARE = 140
_WORDS = {"user": 2.9, "assistant": 3.9}  # logarithm of the median
_SPREAD = 0.6
_DIMENSION = 384  # of all-MiniLM-L6-v2
_MARKS = re.compile(r"[^\w\s]")
_COMMON = 1.0  # a component that all vectors share, as those of real models do


class SyntheticTalk:
    """Draws chats and questions.

    Args:
        vocabulary: number of invented words.
        topics: number of topics.
    """

    def __init__(self, *, seed: int = 0, vocabulary: int = 30_000, topics: int = 400) -> None:
        self._chance = random.Random(seed)
        self._words = self._invent(vocabulary)
        self._cumulated = list(accumulate(1 / rank for rank in range(1, vocabulary + 1)))
        self._topics = [self._topic() for _ in range(topics)]

    def sessions(self, turns: int) -> Iterator[list[tuple[Role, str]]]:
        """Chats of 10 to 59 messages, `turns` messages in all."""
        while turns > 0:
            size, topic = min(turns, self._chance.randrange(10, 60)), self._chance.choice(self._topics)
            roles: list[Role] = ["assistant" if place % 2 else "user" for place in range(size)]
            yield [(role, self._message(topic, role)) for role in roles]
            turns -= size

    def questions(self, count: int) -> list[str]:
        """Questions about one to four words of a topic and up to three of any frequency."""
        return [self._question() for _ in range(count)]

    def _question(self) -> str:
        topic = self._chance.choice(self._topics)
        words = [self._of_topic(topic) for _ in range(self._chance.randrange(1, 5))]
        for _ in range(self._chance.randrange(4)):
            rank = int(len(self._words) ** self._chance.random())
            words.append(self._words[min(rank, len(self._words) - 1)])
        return f"What did I say about the {' and '.join(words)}?"

    def _message(self, topic: Sequence[str], role: Role) -> str:
        left = min(170, max(3, round(self._chance.lognormvariate(_WORDS[role], _SPREAD))))
        sentences = []
        while left > 0:
            size = min(left, self._chance.randrange(6, 18))
            words = " ".join(self._word(topic) for _ in range(size))
            sentences.append(words.capitalize() + self._chance.choice("...?"))
            left -= size
        return " ".join(sentences)

    def _word(self, topic: Sequence[str]) -> str:
        kind = self._chance.random()
        if kind < 0.5:
            return _FUNCTION[int(len(_FUNCTION) ** self._chance.random()) - 1]
        return self._of_topic(topic) if kind < 0.78 else self._by_zipf()

    def _of_topic(self, topic: Sequence[str]) -> str:
        return topic[min(int(self._chance.expovariate(1 / 30)), len(topic) - 1)]

    def _by_zipf(self) -> str:
        drawn = self._chance.random() * self._cumulated[-1]
        return self._words[min(bisect(self._cumulated, drawn), len(self._words) - 1)]

    def _topic(self) -> list[str]:
        words = {self._by_zipf() for _ in range(_FREQUENT)} | set(self._chance.sample(self._words, _RARE))
        mixed = sorted(words)
        self._chance.shuffle(mixed)
        return mixed

    def _invent(self, count: int) -> list[str]:
        words: dict[str, None] = {}
        while len(words) < count:
            syllables = self._chance.choice((1, 2, 2, 3))
            word = "".join(
                self._chance.choice(_ONSETS) + self._chance.choice(_VOWELS) for _ in range(syllables)
            )
            words.setdefault(word + self._chance.choice(_CODAS))
        return [word for word in words if word not in FUNCTION_WORDS]


class WordVectors:
    """A `memory.Embedder` without a model, fast enough for 100,000 messages and the same at every run.

    A text is the sum of random directions, one per word, so texts that share words are near and chats on one
    topic make a cluster, as with a real model.
    """

    name = recipe = "word-vectors-384"
    dimension = _DIMENSION
    ready = True

    def __init__(self) -> None:
        self._words: dict[str, Vectors] = {}
        self._texts: dict[str, Vectors] = {}

    def start(self) -> None: ...

    def close(self) -> None: ...

    def learn(self, texts: Sequence[str]) -> None:
        """Cache the vectors of these texts."""
        self._texts |= dict(zip(texts, self.embed(texts), strict=True))

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """See `memory.Embedder`."""
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
            # Short words are mostly function words, which carry little meaning.
            weight = 0.15 if len(word) < 4 else 1.0
            self._words[word] = weight * chance.standard_normal(_DIMENSION, dtype=np.float32)
        return self._words[word]
