"""Made-up chats of any length with the statistics that a search depends on, the same at every run.

Half of the words are English function words. The others are invented and follow Zipf's law, as words do:
few are in every fifth message, most in hardly any. A chat keeps to a topic with words of its own, which a
question takes up again, and lengths are log-normal, the model's messages being the longer ones.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate

from memory import Role

__all__ = ["FUNCTION_WORDS", "SyntheticTalk"]

_FUNCTION = """
    the i to and a of it in that is was for you my we on with but have so this be at not are about when do had
    they just what all there can like from if or me would will your he she some out get an up as how
""".split()  # noqa: SIM905
FUNCTION_WORDS = frozenset(_FUNCTION)  # the others are invented
_ONSETS = "b br c ch d dr f fl g gr h j k l m n p pl r s st t tr v w".split()  # noqa: SIM905
_VOWELS = "a e i o u ea ai ou".split()  # noqa: SIM905
_CODAS = "n r l st m t ck ng p nd".split()  # noqa: SIM905
_FREQUENT = 60  # of a topic's words; the others are rare ones
_RARE = 140
_WORDS = {"user": 2.9, "assistant": 3.9}  # logarithm of the median
_SPREAD = 0.6


class SyntheticTalk:
    """Draws chats and questions.

    Args:
        vocabulary: how many words are invented.
        topics: how many topics there are to talk about.
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
        """Each about one to four words of a topic, and up to three of any frequency."""
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
