"""Facts, recalls and where they come from, as screens and commands show them.

Every function that takes a `Memory` blocks: an event loop calls it in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memory import MemoryNotFound
from stevemin_chat.text import day, speaker

if TYPE_CHECKING:
    from memory import ContextReport, Entity, Fact, Memory, Message, Origin, Recall, SessionRecord, Summary

__all__ = [
    "FACT_COLUMNS",
    "HIT_COLUMNS",
    "INSTRUCTIONS",
    "SHORT_ID",
    "Account",
    "Explanation",
    "FactEntry",
    "Found",
    "HitEntry",
    "Link",
    "Place",
    "explain",
    "fact_entries",
    "facts_of",
    "find",
    "follow",
    "hit_entries",
    "last_exchange",
    "read_account",
    "why_nothing_is_listed",
]


_MOST_HITS = 50
_AROUND = 2  # messages before and after the source of something


@dataclass(frozen=True, slots=True)
class Place:
    """A message to go to."""

    session_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Account:
    """The report of a prompt, with the facts and summaries that it names by number.

    Args:
        titles: of all chats, by session id.
    """

    report: ContextReport
    titles: Mapping[str, str]
    facts: tuple[Fact, ...]
    summaries: tuple[Summary, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """Someone or something that a fact names, and the other facts that do."""

    entity: Entity
    facts: tuple[FactEntry, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found; the whole profile where the question is empty.

    Args:
        links: of the only fact, where its links were asked for; else None.
    """

    facts: tuple[FactEntry, ...]
    hits: tuple[HitEntry, ...] = ()
    links: tuple[Link, ...] | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where something remembered comes from.

    Args:
        around: the source message with those before and after it; empty where there is no source.
    """

    origin: Origin
    around: tuple[Message, ...] = ()


def read_account(memory: Memory, report: ContextReport) -> Account:
    """Look up what a report names, except what was deleted since. Raises memory.StoreError."""
    facts = {fact.id: fact for fact in memory.long_term.facts()} if report.facts else {}
    return Account(
        report,
        {record.id: record.title for record in memory.sessions()},
        tuple(facts[number] for number in report.facts if number in facts),
        _summaries(memory, report),
    )


def find(memory: Memory, question: str) -> Found:
    """Facts that contain every word of a question, and recalls. Raises memory.StoreError."""
    facts = fact_entries(memory)
    words = question.casefold().split()
    if not words:
        return Found(tuple(facts))
    matching = [entry for entry in facts if all(word in entry.fact.text.casefold() for word in words)]
    hits = hit_entries(memory, memory.search(question, limit=_MOST_HITS, sources="chats"))
    return Found(tuple(matching), tuple(hits))


def follow(memory: Memory, fact_id: int) -> Found | None:
    """A fact with whom and what it names, and the other facts that name the same; None if it was deleted.

    Raises:
        memory.StoreError
    """
    entries = fact_entries(memory)
    fact = next((entry for entry in entries if entry.fact.id == fact_id), None)
    if fact is None:
        return None
    links = tuple(
        Link(entity, tuple(entry for entry in entries if entry is not fact and entity.name in _names(entry)))
        for entity in fact.fact.entities
    )
    return Found((fact,), links=links)


def _names(entry: FactEntry) -> set[str]:
    return {entity.name for entity in entry.fact.entities}


def explain(memory: Memory, item_id: str) -> Explanation:
    """Where a fact or a message comes from, and what was derived from it.

    Raises:
        memory.MemoryNotFound: it is deleted.
    """
    origin = memory.long_term.why(item_id)
    return Explanation(origin, _around(memory, origin.message) if origin.message is not None else ())


def facts_of(memory: Memory, session_id: str) -> int:
    """How many facts come from a chat. Raises memory.StoreError."""
    found = fact_entries(memory)
    return sum(entry.session is not None and entry.session.id == session_id for entry in found)


def last_exchange(memory: Memory, session_id: str) -> Explanation | None:
    """The person's last message in a chat; None where there is none. Raises memory.StoreError."""
    said = [item for item in memory.messages(session_id) if item.role == "user" and not item.forgotten]
    return explain(memory, said[-1].id) if said else None


def _summaries(memory: Memory, report: ContextReport) -> tuple[Summary, ...]:
    """Look summaries up by their sources, which are messages left out of the prompt."""
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


INSTRUCTIONS = "contains instructions"  # to the model, in words that are not the person's
SHORT_ID = 8  # hex digits of a message's id, enough to tell it from others
FACT_COLUMNS = ("ID", "KIND", "PIN", "TEXT", "SAID", "CHAT")
HIT_COLUMNS = ("MESSAGE", "DATE", "WHO", "SCORE", "CHAT", "TEXT")


@dataclass(frozen=True, slots=True)
class FactEntry:
    """A fact of the profile; message and session are None for one that the person added."""

    fact: Fact
    message: Message | None
    session: SessionRecord | None

    def row(self) -> tuple[str, ...]:
        """Cells for `FACT_COLUMNS`."""
        pinned = "*" if self.fact.pinned else ""
        said = day(self.message.created_at) if self.message is not None else ""
        if self.fact.until is not None:
            said = f"{said} to {day(self.fact.until)}"
        chat = self.session.title if self.session is not None else ""
        return (str(self.fact.id), self.fact.kind, pinned, self.fact.dated_text, said, chat)

    def to_json(self) -> dict[str, Any]:
        """The fact, with the time and the chat of its message."""
        session = self.session
        return self.fact.to_json() | {
            "said_at": self.message.created_at if self.message is not None else None,
            "session": session.id if session is not None else None,
            "session_title": session.title if session is not None else None,
        }


@dataclass(frozen=True, slots=True)
class HitEntry:
    """A recall, and the title of its chat."""

    recall: Recall
    title: str

    def row(self) -> tuple[str, ...]:
        """Cells for `HIT_COLUMNS`."""
        hit = self.recall
        text = f"({INSTRUCTIONS}) " * hit.instructions + " ".join(hit.text.split())
        who = speaker(hit.role, hit.origin)
        return (hit.message_id[:SHORT_ID], day(hit.at), who, f"{hit.score:.1f}", self.title, text)

    def to_json(self) -> dict[str, Any]:
        """The whole text, with the signals of its score."""
        hit = self.recall
        return {
            "id": hit.message_id,
            "session": hit.session_id,
            "session_title": self.title,
            "role": hit.role,
            "at": hit.at,
            "score": hit.score,
            "signals": dict(hit.signals),
            "text": hit.text,
            "origin": hit.origin,
            "instructions": hit.instructions,
        }


def fact_entries(memory: Memory) -> list[FactEntry]:
    """The whole profile: pinned facts first, then what was stated last; what no longer holds at the end."""
    sessions = {record.id: record for record in memory.sessions()}
    entries = []
    for fact in memory.long_term.facts():
        message = memory.message(fact.message_id) if fact.message_id is not None else None
        entries.append(FactEntry(fact, message, sessions.get(message.session_id) if message else None))
    return entries


def hit_entries(memory: Memory, recalls: Sequence[Recall]) -> list[HitEntry]:
    """The recalls of a search, in its order, with their chats' titles."""
    titles = {record.id: record.title for record in memory.sessions()}
    return [HitEntry(recall, titles.get(recall.session_id, "")) for recall in recalls]


def why_nothing_is_listed(facts: int, remembering: bool) -> str:
    """One line in place of an empty list.

    Args:
        facts: how many facts the profile holds.
    """
    if facts:
        return "No profile entry matches."
    if not remembering:
        return "Your profile is empty, and remembering is off: stevemin memory on"
    return (
        "Your profile is empty. It fills when you say something about yourself in a chat "
        '("I live in Porto"), or with: stevemin memory add TEXT'
    )
