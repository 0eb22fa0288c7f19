"""What `stevemin memory forget` is about to take out, and the taking out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from memory import Fact, Forgotten
from stevemin_chat.errors import UsageProblem
from stevemin_chat.memory_entries import SHORT_ID, WHO
from stevemin_chat.memory_reports import counted

if TYPE_CHECKING:
    from memory import Memory, Message

__all__ = ["Chosen", "choose"]

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
        what = counted(messages=len(self.messages), facts=len(self.facts))
        if self.messages:
            return f"Forget {what} for good, with replies and what was made of them?"
        return f"Forget {what} for good? What was said in the chat stays (--source forgets it, too)."

    def lines(self) -> Iterator[str]:
        """The first few, one line each."""
        lines = [f"  fact {fact.id}: {fact.text}" for fact in self.facts]
        lines += [
            f"  {message.id[:SHORT_ID]}, {WHO[message.role]}, {message.created_at[:10]}: {message.content}"
            for message in self.messages
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
