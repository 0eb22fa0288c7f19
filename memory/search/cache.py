"""Remembers what questions found, so that one that is asked again is searched for once.

Kept are numbers: ids, scores, the question's vector and its terms. Texts are read anew, weights and the gate
reckon with the store as it is now. What was found stays true while nothing is deleted; then of the vectors
only those that came since must be compared. Keyword search is done anew after any addition, since every
BM25 score changes; FTS5 takes a millisecond for it, and looking at the new passages only saves half of that.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock

from memory.ports import Vectors
from memory.reports import SearchCounts
from memory.search.keywords import Keyword
from memory.storage import SearchState, View

__all__ = ["NOTHING", "Best", "Found", "Known", "RetrievalCache", "WordsFound", "key_of", "still_true"]

_MOST = 256  # questions
_MOST_BYTES = 4 << 20
_FIXED_BYTES = 2_000  # of an entry, besides what it lists
_TERM_BYTES = 300
# What asks for nothing where it stands: "C++", ".NET" and "-5" keep their marks.
_BEFORE = "\"'([{\u201c\u201e\u2018\u201a\u00ab\u2039\u00bf\u00a1\u300c\u300e"
_AFTER = "\"')]}.,;:!?\u2026\u201d\u2019\u00bb\u203a\u3002\uff1f\uff01\uff0c\u3001\u300d\u300f\u061f\u060c"


class Best:
    """The best hits of a search, best first.

    Args:
        hits: passage ids and scores.
        asked: how many were asked for; if there are fewer, these are all.
    """

    __slots__ = ("_asked", "_ids", "_scores")

    def __init__(self, hits: Iterable[tuple[int, float]], asked: int) -> None:
        found = list(hits)
        self._ids = array("q", [number for number, _ in found])
        self._scores = array("d", [score for _, score in found])
        self._asked = asked

    def __len__(self) -> int:
        return len(self._ids)

    def first(self, count: int, excluded: Collection[int]) -> dict[int, float]:
        """The best `count` that are not excluded; fewer if there are no more."""
        hits = ((n, score) for n, score in zip(self._ids, self._scores, strict=True) if n not in excluded)
        return dict(hit for hit, _ in zip(hits, range(count), strict=False))

    def reach(self, count: int, excluded: Collection[int], asked: int) -> bool:
        """Whether `first` gives what a new search for `asked` would."""
        complete = len(self) < self._asked or self._asked >= asked
        return complete or len(self.first(count, excluded)) == count

    def with_more(self, hits: Iterable[tuple[int, float]]) -> Best:
        """These and others, as a search of both would have found them."""
        both = dict(zip(self._ids, self._scores, strict=True)) | dict(hits)
        ranked = sorted(both.items(), key=lambda hit: -hit[1])
        return Best(ranked[: self._asked], self._asked)


@dataclass(frozen=True, slots=True)
class WordsFound:
    """What keyword search found."""

    keywords: Sequence[Keyword]
    best: Best


@dataclass(frozen=True, slots=True)
class Found:
    """What a question found.

    Args:
        state: the store's before it was searched.
        words: None if the keyword index was incomplete.
        vector: the question's; None if meanings did not answer.
        near: by meaning; None if it is not worth keeping.
    """

    state: SearchState
    words: WordsFound | None = None
    vector: Vectors | None = None
    near: Best | None = None

    @property
    def bytes(self) -> int:
        """About how much memory it takes."""
        hits = sum(16 * len(best) for best in (self.near, self.words and self.words.best) if best)
        terms = _TERM_BYTES * len(self.words.keywords) if self.words else 0
        return _FIXED_BYTES + hits + terms + (self.vector.nbytes if self.vector is not None else 0)


@dataclass(frozen=True, slots=True)
class Known:
    """What need not be searched for, because it was found before.

    Args:
        fresh: passages whose vectors came since; the others are in `near`.
    """

    words: WordsFound | None = None
    vector: Vectors | None = None
    near: Best | None = None
    fresh: tuple[int, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether all must be searched for."""
        return self.words is None and self.vector is None


NOTHING = Known()


def still_true(found: Found, state: SearchState, added: Sequence[int]) -> Known:
    """What of `found` holds in a store of which nothing was deleted since.

    Args:
        added: the passages added since.
    """
    unchanged = not added and found.state.analysed and state.analysed
    words = found.words if unchanged else None
    before = found.state.unembedded
    if found.near is None or before is None:
        return Known(words, found.vector)
    still_without = set(state.unembedded or ())
    fresh = tuple(number for number in {*before, *added} if number not in still_without)
    return Known(words, found.vector, found.near, fresh)


def key_of(question: str, view: View, model: str) -> bytes:
    """Equal for questions of the same words in the same order, whatever their case, blanks and punctuation.

    Not for those with the same content words only: "Where do I live?" and "Who do I live with?" ask for
    different things, and all-MiniLM-L6-v2 says so (a cosine of 0.45).

    Args:
        model: the name of the embedder; empty if there is none.
    """
    stripped = (word.lstrip(_BEFORE).rstrip(_AFTER) for word in _normalised(question).split())
    words = [word if _is_mixed(word) else word.casefold() for word in stripped if word]
    digest = blake2b(digest_size=20)
    for part in (words, _listed(view.sessions), _listed(view.roots), [model]):
        digest.update("\x1f".join(part).encode("utf-8", "surrogatepass") + b"\x1e")
    return digest.digest()


class RetrievalCache:
    """Keeps what the questions asked last found, and counts how often that helped. Any thread.

    Args:
        most: questions.
        most_bytes: of all that is kept.
    """

    def __init__(self, most: int = _MOST, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._lock = Lock()
        self._found: OrderedDict[bytes, Found] = OrderedDict()
        self._bytes = 0
        self._generation = 0
        self._counts: Counter[str] = Counter()

    def get(self, key: bytes) -> tuple[Found | None, int]:
        """What a question found, and the generation for `put`."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key), self._generation

    def put(self, key: bytes, found: Found, generation: int) -> None:
        """Keep it, unless the cache was cleared since `get`: it may name what was deleted."""
        with self._lock:
            if generation != self._generation:
                return
            self._drop(key)
            self._found[key] = found
            self._bytes += found.bytes
            while len(self._found) > self._most or self._bytes > self._most_bytes:
                self._drop(next(iter(self._found)))

    def clear(self) -> None:
        """Keep nothing of what was found so far, not even by searches that are running."""
        with self._lock:
            self._found.clear()
            self._bytes = 0
            self._generation += 1

    def count(self, known: Known, *, searched: bool) -> None:
        """Count a search by what it had to do.

        Args:
            searched: whether anything was looked at.
        """
        kind = "hits" if not searched else "misses" if known.nothing else "partial"
        with self._lock:
            self._counts[kind] += 1

    @property
    def counts(self) -> SearchCounts:
        """The searches so far."""
        with self._lock:
            return SearchCounts(**self._counts)

    def __len__(self) -> int:
        return len(self._found)

    def _drop(self, key: bytes) -> None:
        if (found := self._found.pop(key, None)) is not None:
            self._bytes -= found.bytes


def _normalised(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _is_mixed(word: str) -> bool:
    """Whether its capitals say where its parts begin ("iPhone"), which the analyser takes into account."""
    return not (word.islower() or word.isupper() or word.istitle())


def _listed(values: Collection[str] | Collection[int] | None) -> list[str]:
    return ["*"] if values is None else sorted(map(str, values))
