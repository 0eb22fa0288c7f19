"""Facts and recalls with the chat they come from, as rows and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memory import Fact, Memory, Message, Recall, SessionRecord

__all__ = [
    "FACT_COLUMNS",
    "HIT_COLUMNS",
    "SHORT_ID",
    "WHO",
    "FactEntry",
    "HitEntry",
    "fact_entries",
    "hit_entries",
    "why_nothing_is_listed",
]

SHORT_ID = 8  # hex digits of a message's id, enough to tell it from others
WHO = {"user": "you", "assistant": "model", "system": "system"}
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
        who = WHO.get(hit.role, hit.role)
        text = " ".join(hit.text.split())
        return (hit.message_id[:SHORT_ID], hit.at[:10], who, f"{hit.score:.1f}", self.title, text)

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
