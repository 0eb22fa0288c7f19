"""The parts of the system turn that the memory adds: the profile and the summary of what was evicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memory.ports import TokenCounter
from memory.strategies.quoting import quoted
from memory.types import Fact, Summary

__all__ = ["EMPTY", "PROFILE_HEADING", "SUMMARY_HEADING", "Layer", "profile_layer", "summary_layer"]

PROFILE_HEADING = "What is known about the user:"
SUMMARY_HEADING = "What was said earlier in this conversation, in short:"


@dataclass(frozen=True, slots=True)
class Layer:
    """One part of the system turn.

    Args:
        tokens: of `text`.
        shown, dropped: ids of the facts or summaries that are in it, and of those that did not fit.
        messages: the messages that it stands for.
    """

    text: str = ""
    tokens: int = 0
    shown: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    messages: frozenset[str] = frozenset()

    def given_up(self) -> Layer:
        """The same with nothing shown."""
        return Layer(dropped=tuple(sorted((*self.shown, *self.dropped))))


EMPTY = Layer()


@dataclass(frozen=True, slots=True)
class _Item:
    """One line of a layer; the lines stand in the order of their places."""

    place: int
    id: int
    text: str
    messages: tuple[str, ...]


def profile_layer(facts: Sequence[Fact], limit: int, counter: TokenCounter) -> Layer:
    """The facts that fit into `limit` tokens: the pinned ones first, then the oldest."""
    ordered = sorted(facts, key=lambda fact: (not fact.pinned, fact.id))
    items = [
        _Item(place, fact.id, quoted(fact.text), () if fact.message_id is None else (fact.message_id,))
        for place, fact in enumerate(ordered)
    ]
    return _fill(PROFILE_HEADING, items, limit, counter)


def summary_layer(summaries: Sequence[Summary], limit: int, counter: TokenCounter) -> Layer:
    """The summaries that fit into `limit` tokens, the latest first.

    Args:
        summaries: oldest first, no message in two of them.
    """
    items = [
        _Item(place, summary.id, quoted(summary.text), summary.sources)
        for place, summary in enumerate(summaries)
    ]
    return _fill(SUMMARY_HEADING, items[::-1], limit, counter)


def _fill(heading: str, items: Sequence[_Item], limit: int, counter: TokenCounter) -> Layer:
    """As many items as fit, the most important first."""
    used = counter.count_text(heading + "\n")
    chosen: list[_Item] = []
    for item in items:
        tokens = counter.count_text(f"- {item.text}\n")
        if item.text and used + tokens <= limit:
            used += tokens
            chosen.append(item)
    text = _text(heading, chosen)
    # Tokens do not add up exactly, because some reach over a line's end.
    while chosen and counter.count_text(text) > limit:
        chosen.pop()
        text = _text(heading, chosen)
    lines = sorted(chosen, key=lambda item: item.place)
    shown = tuple(item.id for item in lines)
    return Layer(
        text,
        counter.count_text(text) if text else 0,
        shown,
        tuple(sorted({item.id for item in items}.difference(shown))),
        frozenset(message for item in lines for message in item.messages),
    )


def _text(heading: str, items: Sequence[_Item]) -> str:
    lines = [f"- {item.text}" for item in sorted(items, key=lambda item: item.place)]
    return "\n".join((heading, *lines)) if lines else ""
