"""What it saves to remember what questions found: time and work of a search, by what is known of it.

A store is filled with synthetic chats, with vectors of the real embedding model and the real index. Each
question is asked for the first time, again, in capitals without its question mark, and once more after ten
messages were stored and embedded; between these, as many other questions are asked for the first time.

    python bench/memory/cache.py --turns 2000 --json

For each way: the median of the milliseconds, and how many texts were embedded, how often the vectors and the
keyword index were searched, per question. `ratio` compares with questions that are asked for the first time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from bench.cli import BenchError, note
from bench.memory.store import wait_for_index
from bench.memory.synthetic import SyntheticTalk
from memory import Embedder, Memory
from memory.search import Keywords
from memory.vectors import PassageVectors

__all__ = ["measure"]

_ADDED = 10  # messages
_WARM_UP = 10  # questions
_FIRST = "for the first time"
_WORK = ("embedded", "vectors", "keywords")


def measure(embedder: Embedder, turns: int, questions: int) -> dict[str, Any]:
    """Fill a store and ask it.

    Raises:
        BenchError: search by meaning is unavailable.
    """
    talk = SyntheticTalk()
    with (
        tempfile.TemporaryDirectory() as folder,
        Memory(Path(folder) / "chats.db", embedder=embedder) as memory,
    ):
        _tell(memory, talk, turns)
        wait_for_index(memory)
        note(f"{turns:,} turns stored and indexed.")
        for question in talk.questions(_WARM_UP):  # fills SQLite's cache, and starts what is started once
            memory.search(question)
        ways = _ways(memory, talk, talk.questions(2 * questions))
        stats = memory.long_term.stats()
    return {
        "passages": stats.passages,
        "questions": questions,
        "ways": ways,
        "ratio": {name: round(way["ms"] / ways[_FIRST]["ms"], 2) for name, way in ways.items()},
        "searches": asdict(stats.searches),
        "timeouts": stats.timeouts,
    }


class _Asking:
    """Asks questions, and records time and work by way.

    Args:
        counts: of what is done, which grow meanwhile.
    """

    def __init__(self, memory: Memory, counts: Counter[str]) -> None:
        self._memory = memory
        self._counts = counts
        self._taken: dict[str, list[float]] = defaultdict(list)
        self._work: dict[str, Counter[str]] = defaultdict(Counter)

    def ask(self, way: str, question: str) -> None:
        before, start = self._counts.copy(), perf_counter()
        self._memory.search(question)
        self._taken[way].append(1e3 * (perf_counter() - start))
        self._work[way] += self._counts - before

    def result(self) -> dict[str, dict[str, float]]:
        """The median of the milliseconds, and the work per question, by way."""
        return {
            way: {"ms": round(median(taken), 2)}
            | {name: round(self._work[way][name] / len(taken), 2) for name in _WORK}
            for way, taken in self._taken.items()
        }


def _ways(memory: Memory, talk: SyntheticTalk, questions: Sequence[str]) -> dict[str, dict[str, float]]:
    with _counted() as counts:
        asking = _Asking(memory, counts)
        again, others = questions[::2], questions[1::2]
        for question in again:
            asking.ask(_FIRST, question)
            asking.ask("again", question)
            asking.ask("in other letters", question.upper().rstrip("?"))
        _tell(memory, talk, _ADDED)
        wait_for_index(memory)
        for question, other in zip(again, others, strict=True):
            asking.ask("after ten messages", question)
            asking.ask(_FIRST, other)  # so that both are asked in the same minute
        return asking.result()


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Counts questions that are embedded, and searches of the vectors and of the keyword index."""
    counts: Counter[str] = Counter()
    by_meaning, by_words = PassageVectors.search, Keywords.search

    def meaning(self: PassageVectors, *args: Any, **options: Any) -> Any:
        counts["vectors"] += 1
        counts["embedded"] += options["known"] is None
        return by_meaning(self, *args, **options)

    def words(self: Keywords, *args: Any, **options: Any) -> Any:
        counts["keywords"] += 1
        return by_words(self, *args, **options)

    PassageVectors.search, Keywords.search = meaning, words  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        PassageVectors.search, Keywords.search = by_meaning, by_words  # type: ignore[method-assign]


def _tell(memory: Memory, talk: SyntheticTalk, turns: int) -> None:
    for said in talk.sessions(turns):
        session = memory.create_session()
        for role, text in said:
            memory.add_message(session.id, role, text)


def show(result: dict[str, Any]) -> Iterator[str]:
    """The result in a few lines."""
    yield f"{result['passages']:,} passages, {result['questions']} questions; work per question"
    yield f"  {'':20}{'ms':>7}{'ratio':>7}{'embedded':>10}{'vectors':>9}{'keywords':>10}"
    for name, way in result["ways"].items():
        work = f"{way['embedded']:>10.2f}{way['vectors']:>9.2f}{way['keywords']:>10.2f}"
        yield f"  {name:20}{way['ms']:>7.2f}{result['ratio'][name]:>7.2f}{work}"


def main() -> int:
    """Measure and print."""
    from memory.vectors import WorkerEmbedder

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=2_000, help="messages (default: 2000)")
    parser.add_argument("--questions", type=int, default=100, help="asked in each way (default: 100)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args()
    embedder = WorkerEmbedder()
    try:
        result = measure(embedder, args.turns, args.questions)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        embedder.close()
    print(json.dumps(result, indent=1) if args.json else "\n".join(show(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
