"""Long-term memory as a person handles it: the profile, where things come from, forgetting.

How much is remembered, and all of it as one document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from memory.components import Parts
from memory.errors import FactNotFound, MemoryNotFound
from memory.storage.database import Database
from memory.storage.facts import Facts
from memory.storage.summaries import Summaries
from memory.types import Fact, FactKind, Forgotten, IndexStatus, Message, Origin

__all__ = [
    "Inventory",
    "LongTermMemory",
    "MemoryStats",
]


_FACT = re.compile(r"\d{1,9}")
_MESSAGE = re.compile(r"[0-9a-f]{6,32}", re.IGNORECASE)

P = ParamSpec("P")
T = TypeVar("T")


class LongTermMemory:
    """What is remembered across sessions, for a person to look at, to correct and to forget.

    Every method may be called from any thread and blocks; what it wrote is committed when it returns.

    Args:
        remembering: for this process, whatever the store says; None follows the store.
    """

    def __init__(self, parts: Parts, *, remembering: bool | None = None) -> None:
        self._parts = parts
        self._inventory = Inventory(parts.database, parts.facts, parts.summaries, parts.vectors_folder)
        self._override = remembering

    # The profile

    def facts(self, *, session_id: str | None = None) -> tuple[Fact, ...]:
        """The profile: pinned ones first, then the newest.

        Args:
            session_id: only those that this session may hear of; None: all.
        """
        return self._call(lambda: self._parts.facts.list(self._parts.scopes.visible_to(session_id)))

    def add_fact(self, text: str, kind: FactKind = "fact") -> Fact:
        """Enter what the person writes of themselves. Raises `InvalidFact`."""
        return self._call(self._parts.facts.add, text, kind)

    def edit_fact(self, fact_id: int, text: str) -> Fact:
        """Change the words; the source stays. Raises `FactNotFound`, `InvalidFact`."""
        fact = self._call(self._parts.facts.edit, fact_id, text)
        self._call(self._parts.database.checkpoint)
        return fact

    def pin_fact(self, fact_id: int, pinned: bool = True) -> Fact:
        """Put it into every prompt, or no longer. Raises `FactNotFound`."""
        return self._call(self._parts.facts.pin if pinned else self._parts.facts.unpin, fact_id)

    def forget_fact(self, fact_id: int) -> Fact:
        """Remove it from the file; the message it came from stays. Raises `FactNotFound`."""
        fact = self._call(self._parts.facts.get, fact_id)
        self._call(self._parts.facts.remove, fact_id)
        self._call(self._parts.database.checkpoint)
        return fact

    # Where things come from

    def find(self, item_id: str) -> Fact | Message:
        """A fact by its number, or a message by its id or a unique start of it, six digits at least.

        Raises:
            MemoryNotFound: there is neither, or there are several.
        """
        return self._call(self._find, item_id.strip())

    def why(self, item_id: str) -> Origin:
        """Where a fact comes from, or what was made of a message. Raises as `find`."""
        return self._call(self._why, item_id.strip())

    def containing(self, text: str, *, limit: int = 1000) -> list[Message]:
        """Messages that have this text in them as it stands, in any case; the newest first."""
        wanted = text.casefold()
        return self._call(self._parts.transcript.containing, wanted, limit) if wanted else []

    # Forgetting

    def forget(self, message_ids: Sequence[str]) -> Forgotten:
        """Take messages, the replies to them and all that was made of them out of every file.

        When it returns nothing finds them any more, and no file holds their words; if another process
        has the vector index, that process takes the vectors out (`Forgotten.pending`).

        Raises:
            MessageNotFound: before anything was changed.
        """
        gone, passages = self._call(self._parts.intake.forget, message_ids)
        return replace(gone, pending=not self.clear_traces(passages)) if gone.messages else gone

    def set_off_record(self, session_id: str, off_record: bool) -> None:
        """Let nothing of a session enter, and take out what has; or let all of it in again.

        Raises:
            SessionNotFound.
        """
        if off_record:
            self.clear_traces(self._call(self._parts.intake.take_out, session_id))
        else:
            self._call(self._parts.intake.take_in, session_id)
            self._parts.vectors.wake()

    def clear_traces(self, passages: Sequence[int]) -> bool:
        """Clear what deleted passages left behind: vectors, postings, the write-ahead log.

        Returns:
            False if vectors are left to the process that has the index.
        """
        gone = self._parts.vectors.remove(passages)
        self._call(self._purge)
        return gone

    def finish_purge(self) -> None:
        """Clear the keyword index if a process that was forgetting did not come to it."""
        if self._call(lambda: self._parts.settings.purge_due):
            self._call(self._purge)

    # On and off

    @property
    def remembering(self) -> bool:
        """Whether what is said is remembered, and prompts draw on it."""
        return (
            self._override
            if self._override is not None
            else self._call(lambda: self._parts.settings.remembering)
        )

    def switch(self, on: bool) -> None:
        """Remember from now on, or no longer, in every chat; what is said meanwhile never enters."""
        self._call(self._switch, on)

    def stats(self) -> MemoryStats:
        """How much is remembered, and what it takes on disk."""
        return self._inventory.stats(remembering=self.remembering, index=self._parts.vectors.status)

    def export(self) -> dict[str, Any]:
        """All that is remembered, as plain JSON values."""
        return self._inventory.export()

    # The rest runs on the database's thread.

    def _find(self, item_id: str) -> Fact | Message:
        if _FACT.fullmatch(item_id):
            try:
                return self._parts.facts.get(int(item_id))
            except FactNotFound:
                pass
        found = self._parts.transcript.starting(item_id.lower()) if _MESSAGE.fullmatch(item_id) else []
        if len(found) != 1:
            raise MemoryNotFound(item_id, several=len(found) > 1)
        return found[0]

    def _why(self, item_id: str) -> Origin:
        item = self._find(item_id)
        if isinstance(item, Message):
            message = item
        elif item.message_id is None:
            return Origin(item=item)
        else:
            message = self._parts.transcript.get(item.message_id)
        passages, embedded = self._parts.passages.counts_of(message.id)
        return Origin(
            item=item,
            message=message,
            session=self._parts.transcript.session_of(message),
            facts=self._parts.facts.made_from(message.id),
            summaries=self._parts.summaries.made_from(message.id),
            passages=passages,
            embedded=embedded,
        )

    def _switch(self, on: bool) -> None:
        self._parts.settings.remembering = on

    def _purge(self) -> None:
        if self._parts.settings.purge_due:
            with self._parts.database.atomic():
                self._parts.passages.purge()
                self._parts.settings.purge_due = False
        self._parts.database.checkpoint()

    def _call(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._parts.database.call(work, *args, **kwargs)


_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStats:
    """How much is remembered.

    Args:
        sessions, off_record: all chats, and those of which nothing is remembered.
        messages: those that a search can find.
        embedded: passages with a vector.
        database_bytes, index_bytes: on disk.
    """

    remembering: bool
    sessions: int
    off_record: int
    messages: int
    forgotten: int
    passages: int
    embedded: int
    facts: int
    pinned: int
    summaries: int
    database_bytes: int
    index_bytes: int
    index: IndexStatus

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class Inventory:
    """Counts and lists what is kept. Any thread; blocks.

    Args:
        vectors: the folder of the vector index, which need not be there.
    """

    def __init__(self, database: Database, facts: Facts, summaries: Summaries, vectors: Path) -> None:
        self._database = database
        self._facts = facts
        self._summaries = summaries
        self._vectors = vectors

    def stats(self, *, remembering: bool, index: IndexStatus) -> MemoryStats:
        """All figures."""
        path = self._database.path
        return MemoryStats(
            remembering=remembering,
            **self._database.call(self._counts),
            database_bytes=_size(path.with_name(path.name + ending) for ending in ("", "-wal", "-shm")),
            index_bytes=_size(self._vectors.rglob("*")),
            index=index,
        )

    def export(self) -> dict[str, Any]:
        """The profile, all summaries, and the messages that can be found, as plain JSON values."""
        return self._database.call(self._export)

    def _counts(self) -> dict[str, int]:
        row = self._database.query_one(_COUNTS)
        return dict(row) if row is not None else {}

    def _export(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "facts": [asdict(fact) for fact in self._facts.list()],
            "summaries": [asdict(summary) for summary in self._summaries.all()],
            "messages": [dict(row) for row in self._database.query(_REMEMBERED)],
        }


def _size(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # it has just been deleted
            continue
    return total


_COUNTS = """
    SELECT
        (SELECT count(*) FROM sessions) AS sessions,
        (SELECT count(*) FROM sessions WHERE off_record) AS off_record,
        (SELECT count(DISTINCT message_id) FROM passages) AS messages,
        (SELECT count(*) FROM messages WHERE forgotten) AS forgotten,
        (SELECT count(*) FROM passages) AS passages,
        (SELECT count(*) FROM passages WHERE embedder IS NOT NULL) AS embedded,
        (SELECT count(*) FROM facts) AS facts,
        (SELECT count(*) FROM facts WHERE pinned) AS pinned,
        (SELECT count(*) FROM summaries) AS summaries
"""
_REMEMBERED = """
    SELECT messages.id, session_id, sessions.title AS session_title, role, content AS text,
        messages.created_at AS at
    FROM messages JOIN sessions ON sessions.id = session_id
    WHERE messages.id IN (SELECT message_id FROM passages) ORDER BY messages.number
"""
