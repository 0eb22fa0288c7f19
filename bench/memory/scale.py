"""Long-term memory at scale: how long a search takes, and whether indexing disturbs the screen.

For each size, a store is filled with synthetic chats: real SQLite with FTS5 and real Chroma, with vectors
from a stand-in (`WordVectors`), since embedding 100,000 messages takes half an hour. Then 200 varied
questions are asked one after the other. Embedding the question does not count.

- `search_ms`: the whole search, from the question to recalls with scores.
- `keywords_ms`, `vectors_ms`: its two parts, which run concurrently in a search, here one after the other.
- `stall_ms`: the longest stall of an event loop while 1,000 messages are stored as the chat does it, embedded
  by the real model and indexed; and of an idle loop for as long, since other programs delay a loop, too.

    python bench/memory/scale.py --turns 5000,100000 --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any

from bench.cli import BenchError, counts, note
from bench.memory.stalls import measure_stall, wait_until_ready
from bench.memory.synthetic import SyntheticTalk, WordVectors
from memory import Memory
from memory.components import open_components
from memory.search import Keywords

_WARM_UP = 20  # questions
_HITS = 100


def measure_size(turns: int, questions: int) -> dict[str, Any]:
    """Fill and search one store of `turns` messages."""
    talk, embedder = SyntheticTalk(), WordVectors()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chats.db"
        built = build(path, talk, embedder, turns)
        note(f"{turns:,} turns stored and indexed.")
        asked = talk.questions(questions + _WARM_UP)
        embedder.learn(asked)
        return {"turns": turns, "questions": questions} | built | ask(path, embedder, asked)


def build(path: Path, talk: SyntheticTalk, embedder: WordVectors, turns: int) -> dict[str, Any]:
    """Fill a store; returns the seconds it took and its size on disk."""
    with Memory(path, embedder=embedder) as memory:
        start = perf_counter()
        for said in talk.sessions(turns):
            session = memory.create_session()
            for role, text in said:
                memory.add_message(session.id, role, text)
        stored = perf_counter()
        memory.start_indexing()
        wait_until_ready(memory.index_status)
        indexed = perf_counter()
        stats = memory.long_term.stats()
    return {
        "passages": stats.passages,
        "store_s": round(stored - start, 1),
        "index_s": round(indexed - stored, 1),
        "database_bytes": stats.database_bytes,
        "index_bytes": stats.index_bytes,
    }


def ask(path: Path, embedder: WordVectors, questions: Sequence[str]) -> dict[str, Any]:
    """Milliseconds of a search and of its parts; the first questions only warm the caches."""
    components = open_components(path, embedder, None)
    keywords = Keywords(components.database)

    def by_words(question: str) -> None:
        components.database.call(lambda: keywords.search(keywords.of(question), _HITS))

    with closing(components.database), closing(components.vectors):
        components.vectors.start()
        wait_until_ready(lambda: components.vectors.status)
        return {
            "search_ms": timed(components.search.find, questions),
            "keywords_ms": timed(by_words, questions),
            "vectors_ms": timed(lambda question: components.vectors.search(question, _HITS), questions),
        }


def timed(work: Callable[[str], object], questions: Sequence[str]) -> dict[str, float]:
    """Percentiles of the milliseconds that `work` takes."""
    taken = []
    for question in questions:
        start = perf_counter()
        work(question)
        taken.append(1e3 * (perf_counter() - start))
    cuts = quantiles(taken[_WARM_UP:], n=100, method="inclusive")
    return {f"p{share}": round(cuts[share - 1], 2) for share in (50, 95, 99)}


def stall_of(turns: int) -> dict[str, Any]:
    """Measure the event loop's stalls with the real embedder."""
    from memory.vectors import WorkerEmbedder

    return asyncio.run(measure_stall(turns, WorkerEmbedder()))


def show(result: dict[str, Any]) -> Iterator[str]:
    """The result in a few lines."""
    for row in result["rows"]:
        yield (
            f"{row['turns']:,} turns: stored in {row['store_s']} s, indexed in {row['index_s']} s,"
            f" {row['database_bytes'] >> 20} MiB + {row['index_bytes'] >> 20} MiB of vectors"
        )
        for name in ("search_ms", "keywords_ms", "vectors_ms"):
            values = "   ".join(f"{share} {value}" for share, value in row[name].items())
            yield f"  {name.removesuffix('_ms'):10}{values} ms"
    if stall := result["stall_ms"]:
        yield (
            f"worst stall of the event loop while {stall['turns']:,} turns are stored, embedded and indexed:"
            f" {stall['indexing']} ms; idle: {stall['idle']} ms"
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=counts, default=(5_000, 100_000), help="sizes (default: 5000,100000)")
    parser.add_argument("--questions", type=int, default=200, help="asked at each size (default: 200)")
    parser.add_argument("--stall-turns", type=int, default=1_000, help="0 skips the event loop")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args()
    try:
        stall = stall_of(args.stall_turns) if args.stall_turns else None
        rows = [measure_size(turns, args.questions) for turns in args.turns]
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    result = {"rows": rows, "stall_ms": stall}
    print(json.dumps(result, indent=1) if args.json else "\n".join(show(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
