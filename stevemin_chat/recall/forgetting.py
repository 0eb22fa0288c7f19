"""What `stevemin memory` forgets, and what its commands report.

Besides messages and facts, a text may stand in a title, in a chat's system prompt, or among the drafts that
wait on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from memory import Fact, Forgotten
from stevemin_chat.base import UsageProblem
from stevemin_chat.models import embedder_label
from stevemin_chat.recall.lookup import SHORT_ID
from stevemin_chat.text import and_more, count, day, listing, percent, size, speaker

if TYPE_CHECKING:
    from memory import Forgotten, Imported, Memory, MemoryStats, Message, SearchCounts, SessionRecord
    from stevemin_chat.chats import Drafts, KeptDraft

__all__ = [
    "Chosen",
    "choose",
    "counted",
    "imported_words",
    "stats_rows",
    "switched_in_words",
]


_SHOWN = 5
_MOST = 2**31  # every message that contains the text


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to forget, each item once.

    Args:
        text: what they contain, if that is how they were chosen.
        chats: those with the text in their title or system prompt.
        drafts: those of the last run with the text.
    """

    facts: tuple[Fact, ...]
    messages: tuple[Message, ...]
    text: str = ""
    chats: tuple[SessionRecord, ...] = ()
    drafts: tuple[KeptDraft, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.facts or self.messages or self.chats or self.drafts)

    @property
    def question(self) -> str:
        """Asks before anything is deleted."""
        titles = sum(self.text.casefold() in chat.title.casefold() for chat in self.chats)
        prompts = sum(self.text.casefold() in (chat.system_prompt or "").casefold() for chat in self.chats)
        what = counted(
            message=len(self.messages),
            fact=len(self.facts),
            title=titles,
            system_prompt=prompts,
            draft=len(self.drafts),
        )
        if self.messages:
            return f"Forget {what} for good, with the replies and everything derived from them?"
        if not self.facts:
            return f"Forget {what} for good?"
        return f"Forget {what} for good? The messages stay in their chats (--source forgets them, too)."

    def lines(self) -> Iterator[str]:
        """The first few, one line each."""
        lines = [f"  fact {fact.id}: {fact.text}" for fact in self.facts]
        lines += [
            f"  {said.id[:SHORT_ID]}, {speaker(said.role)}, {day(said.created_at)}: {said.content}"
            for said in self.messages
        ]
        lines += [f"  chat {chat.id[:SHORT_ID]}: {chat.title}" for chat in self.chats]
        lines += [f"  draft: {' '.join((draft.draft, *draft.queue)).strip()}" for draft in self.drafts]
        yield from lines[:_SHOWN]
        if rest := and_more(len(lines), _SHOWN):
            yield f"  {rest}"

    def forget(self, memory: Memory, drafts: Drafts | None = None) -> Forgotten:
        """Delete them; returns everything that is gone.

        Raises:
            OSError: the file of drafts cannot be written; nothing was changed.
        """
        if drafts is not None and self.drafts:
            kept = drafts.read()
            drafts.write([draft.without(self.text) if draft in self.drafts else draft for draft in kept])
        # Facts first: forgetting the messages would delete those derived from them.
        for fact in self.facts:
            memory.long_term.forget_fact(fact.id)
        gone = memory.long_term.forget([message.id for message in self.messages])
        if self.chats:
            memory.long_term.forget_mentions([chat.id for chat in self.chats], self.text)
        return replace(gone, facts=gone.facts + len(self.facts))


def choose(
    memory: Memory,
    ids: Sequence[str],
    *,
    containing: str | None,
    session: str | None,
    source: bool,
    drafts: Drafts | None = None,
) -> Chosen:
    """What the command's arguments name.

    Args:
        drafts: of the last run; looked through for a text.

    Raises:
        UsageProblem: the arguments name nothing, or contradict each other.
        memory.MemoryNotFound, memory.SessionNotFound: there is no such fact, message or chat.
        DraftsUnreadable, DraftsNotRead: the file of drafts is damaged or cannot be read.
    """
    _check(ids, containing, session)
    chats: tuple[SessionRecord, ...] = ()
    waiting: list[KeptDraft] = []
    items = [memory.long_term.find(item_id) for item_id in ids]
    facts = [item for item in items if isinstance(item, Fact)]
    messages = [item for item in items if not isinstance(item, Fact)]
    if containing is not None:
        found = memory.long_term.containing(containing, limit=_MOST)
        noted = [fact for fact in memory.long_term.facts() if containing.casefold() in fact.text.casefold()]
        chats = memory.long_term.mentions(containing)
        waiting = [draft for draft in (drafts.read() if drafts else ()) if draft.mentions(containing)]
        if session is not None:
            chat = memory.session(session).id
            found = [message for message in found if message.session_id == chat]
            noted = [fact for fact in noted if _chats_of(memory, fact) == {chat}]
            chats = tuple(record for record in chats if record.id == chat)
            waiting = [draft for draft in waiting if draft.session_id == chat]
        facts += noted
        messages += found
    if source:
        messages += [memory.message(source) for fact in facts for source in fact.sources]
    kept = {message.id: message for message in messages if not message.forgotten}
    named = tuple({fact.id: fact for fact in facts}.values())
    return Chosen(named, tuple(kept.values()), containing or "", chats, tuple(waiting))


def _check(ids: Sequence[str], containing: str | None, session: str | None) -> None:
    if containing is None and session is not None:
        raise UsageProblem("--session needs --containing. To forget a whole chat: stevemin sessions delete")
    if containing is None and not ids:
        raise UsageProblem(
            "Name what to forget: ids, or --containing TEXT. See: stevemin memory forget --help"
        )
    if containing is not None and not containing.strip():
        raise UsageProblem("--containing needs a text.")


def _chats_of(memory: Memory, fact: Fact) -> set[str]:
    return {memory.message(source).session_id for source in fact.sources}


def counted(**numbers: int) -> str:
    """`counted(message=1, fact=2)` → "1 message and 2 facts"; zeros are left out."""
    return listing([count(number, noun.replace("_", " ")) for noun, number in numbers.items() if number])


def imported_words(added: Imported) -> str:
    """One line on what an import added."""
    new = counted(fact=added.facts, summary=added.summaries, message=added.messages, chat=added.sessions)
    text = f"Imported: {new or 'nothing new'}."
    if added.known:
        text += f" {count(added.known, 'item')} here already."
    if added.left_out:
        text += f" {count(added.left_out, 'item')} left out: forgotten here, or of a chat off the record."
    return text


def switched_in_words(session: SessionRecord | None, remembering: bool) -> str:
    """One line on what is remembered now that remembering is on or off.

    Args:
        session: the chat as it is now; None for all chats.
        remembering: whether anything is remembered at all.
    """
    if session is None and remembering:
        return "Remembering is on. Messages sent while it was off stay out of memory."
    if session is None:
        return "Remembering is off: nothing is remembered or recalled. Existing memories stay."
    if session.off_record:
        return (
            f"{session.title!r} is off the record: its memories are deleted and it adds no new ones. "
            "The chat stays."
        )
    still = (
        "" if remembering else " But remembering is off for all chats; turn it on with: stevemin memory on"
    )
    return f"{session.title!r} is on the record: its messages are remembered.{still}"


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
        *([("Embedder", _embedder_in_words(found))] if found.embedder else []),
        ("Searches", _searches_in_words(found.searches)),
    ]


def _embedder_in_words(found: MemoryStats) -> str:
    current = embedder_label(found.embedder or "")
    if found.next_embedder is None:
        return current
    share = percent(found.embedded / found.passages) if found.passages else "all"
    return f"{current}, until {embedder_label(found.next_embedder)} has embedded everything ({share} so far)"


def _searches_in_words(counts: SearchCounts) -> str:
    total = counts.hits + counts.partial + counts.misses
    if not total:
        return "none yet"
    again = f"{counts.hits:,} answered from an earlier one, {counts.partial:,} looked only at changes"
    return f"{total:,}: {again}"


def _index_in_words(found: MemoryStats) -> str:
    if found.index.reason:
        return found.index.reason
    if found.embedded == found.passages or found.next_embedder:
        return "finds every passage" if found.passages else "nothing to find yet"
    return f"finds {count(found.embedded, 'passage')}; the others get their vectors while a chat is open"
