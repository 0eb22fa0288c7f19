"""Whether a model may look for facts: what it finds in labelled messages, by the code that is used later.

`facts_labelled.jsonl` holds 200 messages written for this purpose, half of which state nothing. A statement
that is kept counts as right if it holds at least half of a labelled one.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from memory.errors import ExtractionCancelled
from memory.ingest.extraction import ask, facts_grammar, in_batches, prompt_for_facts
from memory.ingest.facts import Statement, statements_in
from memory.ports import FactExtractor
from memory.reports import FactsCheck
from memory.types import FactKind

__all__ = ["Labelled", "check_id", "found_by_model", "found_by_rules", "graded", "labelled_messages"]

_FILE = "facts_labelled.jsonl"
_ENOUGH = 0.5  # of a labelled statement


@dataclass(frozen=True, slots=True)
class Labelled:
    """A message and what it states.

    Args:
        half: 1 if it was written before the rules for work were, 2 if after.
        language: ISO 639-1.
        facts: words of the text, each with its kind.
    """

    half: int
    language: str
    text: str
    facts: tuple[tuple[str, FactKind], ...]


@cache
def labelled_messages() -> tuple[Labelled, ...]:
    """The messages, in a fixed order."""
    rows = [json.loads(line) for line in _data().decode().splitlines()]
    return tuple(
        Labelled(
            row["half"], row["language"], row["text"], tuple((span, kind) for span, kind in row["facts"])
        )
        for row in rows
    )


@cache
def check_id() -> str:
    """Names the messages and the request: after a change of either, a model has to be checked again."""
    request = f"{prompt_for_facts(['…'])}{facts_grammar(2)}"
    return hashlib.sha256(_data() + request.encode()).hexdigest()[:16]


def found_by_model(
    extractor: FactExtractor, show: Callable[[float], None], cancelled: Callable[[], bool]
) -> list[list[Statement]]:
    """What a model finds in each labelled message.

    Args:
        show: called with the share of the messages that are done.

    Raises:
        ExtractionCancelled.
    """
    texts = [message.text for message in labelled_messages()]
    found: list[list[Statement]] = []
    for batch in in_batches(texts):
        if cancelled():
            raise ExtractionCancelled
        found += ask(extractor, [texts[place] for place in batch], cancelled)
        show(len(found) / len(texts))
    return found


def found_by_rules() -> list[Sequence[Statement]]:
    """What the rules find in each labelled message."""
    return [statements_in(message.text) for message in labelled_messages()]


def graded(
    found: Iterable[Sequence[Statement]], *, model: str = "", at: str = "", half: int | None = None
) -> FactsCheck:
    """Compare with the labels.

    Args:
        found: for each labelled message.
        half: only these messages.
    """
    kept = right = messages = 0
    labelled, missed = Counter[str](), Counter[str]()
    for message, statements in zip(labelled_messages(), found, strict=True):
        if half not in (None, message.half):
            continue
        messages += 1
        spans = [_span(message.text, words) for words, _ in message.facts]
        places = [_span(message.text, item.text.rstrip("…")) for item in statements]
        kept += len(places)
        right += sum(any(_holds(place, span) for span in spans) for place in places)
        for (_, kind), span in zip(message.facts, spans, strict=True):
            labelled[kind] += 1
            missed[kind] += not any(_holds(place, span) for place in places)
    return FactsCheck(
        model=model,
        check=check_id(),
        messages=messages,
        kept=kept,
        right=right,
        labelled=labelled.total(),
        found=labelled.total() - missed.total(),
        by_kind={kind: (number - missed[kind], number) for kind, number in sorted(labelled.items())},
        checked_at=at,
    )


def _span(text: str, words: str) -> tuple[int, int]:
    """Where these words stand in a text, whatever its white space."""
    line = " ".join(text.split())
    start = line.find(" ".join(words.split()))
    return (start, start + len(words)) if start >= 0 else (0, 0)


def _holds(place: tuple[int, int], span: tuple[int, int]) -> bool:
    shared = min(place[1], span[1]) - max(place[0], span[0])
    return shared > 0 and shared >= _ENOUGH * (span[1] - span[0])


def _data() -> bytes:
    return (files("memory.ingest") / _FILE).read_bytes()
