"""What the screens show of the memory. Every function blocks: event loops call it through a thread.

Facts and recalls with the chat they come from, as rows and as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from memory import MemoryNotFound
from stevemin_chat.text import speaker

if TYPE_CHECKING:
    from memory import ContextReport, Fact, Memory, Message, Origin, Recall, SessionRecord, Summary

__all__ = [
    "FACT_COLUMNS",
    "HIT_COLUMNS",
    "SHORT_ID",
    "Account",
    "Explanation",
    "FactEntry",
    "Found",
    "HitEntry",
    "Place",
    "explain",
    "fact_entries",
    "facts_of",
    "find",
    "hit_entries",
    "last_exchange",
    "read_account",
    "why_nothing_is_listed",
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


SHORT_ID = 8  # hex digits of a message's id, enough to tell it from others
FACT_COLUMNS = ("ID", "KIND", "PIN", "TEXT", "SAID", "CHAT")
HIT_COLUMNS = ("MESSAGE", "DATE", "WHO", "SCORE", "CHAT", "TEXT")


@dataclass(frozen=True, slots=True)
class FactEntry:
    """A fact of the profile; message and session are None when the person wrote it there."""

    fact: Fact
    message: Message | None
    session: SessionRecord | None

    def row(self) -> tuple[str, ...]:
        """Cells for `FACT_COLUMNS`."""
        pinned = "*" if self.fact.pinned else ""
        said = self.message.created_at[:10] if self.message is not None else ""
        chat = self.session.title if self.session is not None else ""
        return (str(self.fact.id), self.fact.kind, pinned, self.fact.text, said, chat)

    def to_json(self) -> dict[str, Any]:
        """The fact, and when and in which chat it was said."""
        session = self.session
        return asdict(self.fact) | {
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
        text = " ".join(hit.text.split())
        return (
            hit.message_id[:SHORT_ID], hit.at[:10], speaker(hit.role), f"{hit.score:.1f}", self.title, text
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The whole text, with the parts of its score."""
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
        }


def fact_entries(memory: Memory) -> list[FactEntry]:
    """The whole profile: pinned facts first, then the newest."""
    sessions = {record.id: record for record in memory.sessions()}
    entries = []
    for fact in memory.long_term.facts():
        message = memory.message(fact.message_id) if fact.message_id is not None else None
        entries.append(FactEntry(fact, message, sessions.get(message.session_id) if message else None))
    return entries


def hit_entries(memory: Memory, recalls: Sequence[Recall]) -> list[HitEntry]:
    """What a search found, in its order."""
    titles = {record.id: record.title for record in memory.sessions()}
    return [HitEntry(recall, titles.get(recall.session_id, "")) for recall in recalls]


def why_nothing_is_listed(facts: int, remembering: bool) -> str:
    """One line for an empty list.

    Args:
        facts: how many the profile has.
    """
    if facts:
        return f"None of the {facts} entries of your profile is like that."
    if not remembering:
        return "Your profile is empty, and remembering is off: stevemin memory on"
    return (
        'Your profile is empty. It fills when you say things of yourself in a chat ("I live in Porto"), '
        "or by: stevemin memory add TEXT"
    )
