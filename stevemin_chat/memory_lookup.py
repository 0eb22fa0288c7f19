"""What the screens show of the memory. Every function blocks: event loops call it through a thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memory import MemoryNotFound
from stevemin_chat.memory_entries import FactEntry, HitEntry, fact_entries, hit_entries

if TYPE_CHECKING:
    from memory import ContextReport, Fact, Memory, Message, Origin, Summary

__all__ = [
    "Account",
    "Explanation",
    "Found",
    "Place",
    "explain",
    "facts_of",
    "find",
    "last_exchange",
    "read_account",
]

_MOST_HITS = 50
_AROUND = 2  # messages before and after the source of something


@dataclass(frozen=True, slots=True)
class Place:
    """A message of a chat, to go to."""

    session_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Account:
    """The report of a prompt with the texts that it names by number.

    Args:
        titles: of all chats, by id.
    """

    report: ContextReport
    titles: Mapping[str, str]
    facts: tuple[Fact, ...]
    summaries: tuple[Summary, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found; without a question the whole profile."""

    facts: tuple[FactEntry, ...]
    hits: tuple[HitEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where something remembered comes from.

    Args:
        around: the source among the messages before and after it; empty for what has no source.
    """

    origin: Origin
    around: tuple[Message, ...] = ()


def read_account(memory: Memory, report: ContextReport) -> Account:
    """Look up what a report names. What has gone since is left out. Raises memory.StoreError."""
    facts = {fact.id: fact for fact in memory.long_term.facts()} if report.facts else {}
    return Account(
        report,
        {record.id: record.title for record in memory.sessions()},
        tuple(facts[number] for number in report.facts if number in facts),
        _summaries(memory, report),
    )


def find(memory: Memory, question: str) -> Found:
    """Facts with all words of a question, and what was said about it. Raises memory.StoreError."""
    facts = fact_entries(memory)
    words = question.casefold().split()
    if not words:
        return Found(tuple(facts))
    matching = [entry for entry in facts if all(word in entry.fact.text.casefold() for word in words)]
    hits = hit_entries(memory, memory.search(question, limit=_MOST_HITS))
    return Found(tuple(matching), tuple(hits))


def explain(memory: Memory, item_id: str) -> Explanation:
    """Where a fact or a message stands, and what was made of it.

    Raises:
        memory.MemoryNotFound: it is gone.
    """
    origin = memory.long_term.why(item_id)
    return Explanation(origin, _around(memory, origin.message) if origin.message is not None else ())


def facts_of(memory: Memory, session_id: str) -> int:
    """How many facts were said in a chat. Raises memory.StoreError."""
    found = fact_entries(memory)
    return sum(entry.session is not None and entry.session.id == session_id for entry in found)


def last_exchange(memory: Memory, session_id: str) -> Explanation | None:
    """The last message of the person in a chat, if there is one. Raises memory.StoreError."""
    said = [item for item in memory.messages(session_id) if item.role == "user" and not item.forgotten]
    return explain(memory, said[-1].id) if said else None


def _summaries(memory: Memory, report: ContextReport) -> tuple[Summary, ...]:
    """Found by their sources: a summary stands for messages that were left out."""
    wanted, seen = set(report.summaries), set[str]()
    found: dict[int, Summary] = {}
    for item in report.dropped:
        if item.message_id in seen or not wanted - found.keys():
            continue
        try:
            made = memory.long_term.why(item.message_id).summaries
        except MemoryNotFound:
            continue
        for summary in made:
            if summary.id in wanted:
                found[summary.id] = summary
                seen |= set(summary.sources)
    return tuple(found[number] for number in report.summaries if number in found)


def _around(memory: Memory, source: Message) -> tuple[Message, ...]:
    branch = memory.messages(source.session_id)
    if all(item.id != source.id for item in branch):
        branch = memory.messages(source.session_id, head=source.id)
    spoken = [item for item in branch if item.role != "system"]
    place = next((at for at, item in enumerate(spoken) if item.id == source.id), 0)
    return tuple(spoken[max(0, place - _AROUND) : place + _AROUND + 1])
