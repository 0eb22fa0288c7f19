"""Documents on XQuAD: does the first hit of a search name the lines that answer the question?

The English passages are written as Markdown files of five each, under headings that say nothing, and added as
a folder. `at_1`: the share of questions for which the lines of the first hit, `file:first-last`, contain the
passage; `at_5`: those of one of the first five.

    python bench/memory/documents.py --data xquad.json --json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.cli import BenchError
from bench.memory.store import Fallbacks, wait_for_index
from bench.rounds import percent
from memory import Memory, Recall

_IN_A_FILE = 5
_AT = (1, 5)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a passage stands."""

    file: str
    first: int
    last: int

    def is_in(self, recall: Recall) -> bool:
        """Whether the lines of a hit contain it, up to the heading right above it."""
        if recall.file != self.file or recall.first_line is None or recall.last_line is None:
            return False
        return recall.first_line <= self.first and self.last <= recall.last_line


def write(passages: Sequence[Mapping[str, str]], folder: Path) -> dict[str, Place]:
    """Write the passages as files; returns their places by id."""
    places: dict[str, Place] = {}
    for start in range(0, len(passages), _IN_A_FILE):
        file, lines = folder / f"part{start // _IN_A_FILE + 1:02}.md", list[str]()
        for number, passage in enumerate(passages[start : start + _IN_A_FILE], start=1):
            lines += [f"## Section {number}", ""]
            text = passage["text"].split("\n")
            places[passage["id"]] = Place(str(file), len(lines) + 1, len(lines) + len(text))
            lines += [*text, ""]
        file.write_text("\n".join(lines), encoding="utf-8")
    return places


def measure(data: Path, *, meaning: bool) -> dict[str, Any]:
    """Add the passages as documents and ask all questions. Raises `BenchError`."""
    try:
        english = json.loads(data.read_text(encoding="utf-8"))["langs"]["en"]
        passages, questions = english["passages"], english["questions"]
    except (OSError, ValueError, KeyError) as error:
        raise BenchError(f"{data} does not hold XQuAD's English passages: {error}") from error
    embedder = None
    if meaning:
        from memory.vectors import WorkerEmbedder

        embedder = WorkerEmbedder()
    with tempfile.TemporaryDirectory() as home, Fallbacks() as fallbacks:
        folder = Path(home).resolve() / "docs"
        folder.mkdir()
        places = write(passages, folder)
        with Memory(Path(home) / "chats.db", embedder=embedder) as memory:
            begun = perf_counter()
            report = memory.documents.add([folder])
            reading_s = perf_counter() - begun
            if meaning:
                wait_for_index(memory)
            hits: dict[int, list[bool]] = {most: [] for most in _AT}
            begun = perf_counter()
            for question in questions:
                found = memory.search(question["question"], limit=max(_AT), sources="documents")
                right = [places[question["passage"]].is_in(item) for item in found]
                for most in _AT:
                    hits[most].append(any(right[:most]))
            search_s = perf_counter() - begun
            stored = sum(document.passages for document in memory.documents.list())
    return {
        "files": report.added,
        "passages": len(passages),
        "stored_passages": stored,
        "questions": len(questions),
        "meaning": meaning,
        **{f"at_{most}": percent(right) for most, right in hits.items()},
        "reading_s": round(reading_s, 2),
        "search_ms": round(1000 * search_s / len(questions), 1),
        "timeouts": fallbacks.count,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="XQuAD as one JSON file")
    parser.add_argument("--keywords-only", action="store_true", help="search without embeddings")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parser.parse_args()
    try:
        result = measure(args.data, meaning=not args.keywords_only)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print("\n".join(f"{name:16} {value}" for name, value in result.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
