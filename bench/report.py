"""The table of results, for the terminal and for the README."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.bars import lines
from bench.errors import BenchError

__all__ = ["BEGIN", "END", "block", "replace_block", "table"]

BEGIN = "<!-- bench -->"
END = "<!-- /bench -->"


def table(results: dict[str, Any]) -> Iterator[str]:
    """In Markdown."""
    yield "| what | ours | peer | ratio | bar |"
    yield "|---|---:|---:|---:|---|"
    for line in lines(results):
        cells = (line.what, line.ours, line.peer, f"{line.ratio:.3f}", f"{line.bar}, {line.verdict}")
        yield f"| {' | '.join(cells)} |"


def block(document: dict[str, Any] | None) -> str:
    """What stands between the README's markers; None before anything was measured."""
    if document is None:
        return "Not measured yet: `make bench`."
    about = (
        f"Measured on {document['machine']} with llama.cpp as in llama-cpp-python"
        f" {document['versions']['llama-cpp-python']}, {document['date']}: medians of {document['rounds']}"
        " rounds, ours and the peer in turns, the ratio taken in each round."
    )
    return "\n".join([about, "", *table(document["results"])])


def replace_block(readme: str, document: dict[str, Any] | None) -> str:
    """The README with another table.

    Raises:
        BenchError: it has no markers.
    """
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"README.md has no place for the table: {BEGIN} … {END}.")
    return f"{head}{BEGIN}\n{block(document)}\n{END}{tail}"
