"""What `stevemin memory forget` is about to take out, and the taking out.

What the commands of `stevemin memory` report: what is gone, what is on, how much there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from memory import Fact, Forgotten
from stevemin_chat.base import UsageProblem
from stevemin_chat.recall.lookup import SHORT_ID
from stevemin_chat.text import count, listing, size, speaker

if TYPE_CHECKING:
    from memory import Forgotten, Memory, MemoryStats, Message, SessionRecord

__all__ = [
    "Chosen",
    "choose",
    "counted",
    "gone_in_words",
    "stats_rows",
    "switched_in_words",
]


_SHOWN = 5
_MOST = 2**31  # every message that has the text in it


@dataclass(frozen=True, slots=True)
class Chosen:
    """Facts and messages to forget, each once."""

    facts: tuple[Fact, ...]
    messages: tuple[Message, ...]

    def __bool__(self) -> bool:
        return bool(self.facts or self.messages)

    @property
    def question(self) -> str:
        """What to ask before it is done."""
        what = counted(message=len(self.messages), fact=len(self.facts))
        if self.messages:
            return f"Forget {what} for good, with replies and what was made of them?"
        return f"Forget {what} for good? What was said in the chat stays (--source forgets it, too)."

    def lines(self) -> Iterator[str]:
        """The first few, one line each."""
        lines = [f"  fact {fact.id}: {fact.text}" for fact in self.facts]
        lines += [
            f"  {said.id[:SHORT_ID]}, {speaker(said.role)}, {said.created_at[:10]}: {said.content}"
            for said in self.messages
        ]
        yield from lines[:_SHOWN]
        if len(lines) > _SHOWN:
            yield f"  and {len(lines) - _SHOWN:,} more"

    def forget(self, memory: Memory) -> Forgotten:
        """Take them out; says all that is gone."""
        # Facts first: those made of the messages would be gone already.
        for fact in self.facts:
            memory.long_term.forget_fact(fact.id)
        gone = memory.long_term.forget([message.id for message in self.messages])
        return replace(gone, facts=gone.facts + len(self.facts))


def choose(
    memory: Memory, ids: Sequence[str], *, containing: str | None, session: str | None, source: bool
) -> Chosen:
    """What the arguments of the command name.

    Raises:
        UsageProblem: they name nothing, or make no sense together.
        memory.MemoryNotFound, memory.SessionNotFound: there is no such fact, message or chat.
    """
    _check(ids, containing, session)
    items = [memory.long_term.find(item_id) for item_id in ids]
    facts = [item for item in items if isinstance(item, Fact)]
    messages = [item for item in items if not isinstance(item, Fact)]
    if containing is not None:
        found = memory.long_term.containing(containing, limit=_MOST)
        noted = [fact for fact in memory.long_term.facts() if containing.casefold() in fact.text.casefold()]
        if session is not None:
            chat = memory.session(session).id
            found = [message for message in found if message.session_id == chat]
            noted = [fact for fact in noted if _chat_of(memory, fact) == chat]
        facts += noted
        messages += found
    if source:
        messages += [memory.message(fact.message_id) for fact in facts if fact.message_id is not None]
    kept = {message.id: message for message in messages if not message.forgotten}
    return Chosen(tuple({fact.id: fact for fact in facts}.values()), tuple(kept.values()))


def _check(ids: Sequence[str], containing: str | None, session: str | None) -> None:
    if containing is None and session is not None:
        raise UsageProblem(
            "--session goes with --containing. To forget a whole chat: stevemin sessions delete"
        )
    if containing is None and not ids:
        raise UsageProblem(
            "Say what to forget: ids, or --containing TEXT. See: stevemin memory forget --help"
        )
    if containing is not None and not containing.strip():
        raise UsageProblem("--containing needs a text.")


def _chat_of(memory: Memory, fact: Fact) -> str | None:
    return memory.message(fact.message_id).session_id if fact.message_id is not None else None


def counted(**numbers: int) -> str:
    """`counted(message=1, fact=2)` → "1 message and 2 facts"; zeros are left out."""
    return listing([count(number, noun) for noun, number in numbers.items() if number])


def gone_in_words(gone: Forgotten) -> str:
    """One line for what was forgotten."""
    what = counted(message=len(gone.messages), fact=gone.facts, summary=gone.summaries, passage=gone.passages)
    if not what:
        return "There is nothing to forget."
    later = (
        " The open chat takes the vectors out within a minute, else the next one does."
        if gone.pending
        else ""
    )
    return f"Gone for good: {what}.{later}"


def switched_in_words(session: SessionRecord | None, remembering: bool) -> str:
    """One line for what it means that remembering is on or off.

    Args:
        session: as it is now; None is everywhere.
        remembering: anything at all.
    """
    if session is None and remembering:
        return "Remembering is on. What was said while it was off is not remembered."
    if session is None:
        return "Remembering is off: nothing new is remembered and nothing is recalled. What is there stays."
    if session.off_record:
        return (
            f"{session.title!r} is off the record: nothing of it is remembered, and what was remembered is "
            "taken out. The chat stays."
        )
    still = "" if remembering else " Remembering is off everywhere, though: stevemin memory on"
    return f"{session.title!r} is on the record: what was said in it is remembered.{still}"


def stats_rows(found: MemoryStats) -> list[tuple[str, str]]:
    """Labels and values for a person."""
    return [
        ("Chats", f"{found.sessions:,}, {found.off_record:,} off the record"),
        ("Messages", f"{found.messages:,} remembered, {found.forgotten:,} forgotten"),
        ("Passages", f"{found.passages:,}, {found.embedded:,} with a vector"),
        ("Facts", f"{found.facts:,}, {found.pinned:,} pinned"),
        ("Summaries", f"{found.summaries:,}"),
        ("On disk", f"{size(found.database_bytes)} chats, {size(found.index_bytes)} vectors"),
        ("Search by meaning", _index_in_words(found)),
    ]


def _index_in_words(found: MemoryStats) -> str:
    if found.index.reason:
        return found.index.reason
    if found.embedded == found.passages:
        return "finds all" if found.passages else "has nothing to find yet"
    return f"finds {found.embedded:,} passages; the others get vectors while a chat is open"
