"""Long-term memory as the user manages it: the profile, sources, forgetting, statistics, export."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from memory.components import Components
from memory.context import find_strategy
from memory.errors import FactNotFound, KeywordIndexDamaged, MemoryNotFound, StoreError
from memory.ingest import read_document
from memory.ports import FactExtractor
from memory.reports import FactsCheck, MemoryStats, SearchCounts
from memory.text import has_instructions
from memory.types import Fact, FactKind, Forgotten, Imported, Message, Origin, SessionRecord

__all__ = ["LongTermMemory"]

_FACT = re.compile(r"\d{1,9}")
_MESSAGE = re.compile(r"[0-9a-f]{6,32}", re.IGNORECASE)
_STEP = 100  # messages that are made findable in one transaction, which takes a twentieth of a second


class LongTermMemory:
    """What is remembered across sessions, for the user to inspect, correct and forget.

    Every method may be called from any thread and blocks; what it wrote is committed when it returns.

    Args:
        remembering: overrides the stored setting for this process; None follows the setting.
    """

    def __init__(self, components: Components, *, remembering: bool | None = None) -> None:
        self._components = components
        self._call = components.database.call
        self._override = remembering

    # The profile

    def facts(self, *, session_id: str | None = None) -> tuple[Fact, ...]:
        """The profile: pinned facts first, then the newest.

        Args:
            session_id: only facts that this session may see; None: all.
        """
        return self._call(lambda: self._components.facts.list(self._components.scopes.visible_to(session_id)))

    def add_fact(self, text: str, kind: FactKind = "fact") -> Fact:
        """Record what the user writes about themselves. Raises `InvalidFact`."""
        return self._call(self._components.facts.add, text, kind)

    def edit_fact(self, fact_id: int, text: str) -> Fact:
        """Reword a fact; its source stays. Raises `FactNotFound`, `InvalidFact`."""
        fact = self._call(self._components.facts.edit, fact_id, text)
        self._components.eraser.run()
        return fact

    def pin_fact(self, fact_id: int, pinned: bool = True) -> Fact:
        """Put a fact into every prompt, or stop doing so. Raises `FactNotFound`."""
        return self._call(self._components.facts.pin if pinned else self._components.facts.unpin, fact_id)

    def forget_fact(self, fact_id: int) -> Fact:
        """Delete a fact from the file; the message that stated it stays. Raises `FactNotFound`."""
        fact = self._call(self._components.facts.get, fact_id)
        self._call(self._components.facts.remove, fact_id)
        self._components.eraser.run()
        return fact

    # Facts by a model

    def check_extractor(
        self,
        extractor: FactExtractor,
        *,
        show: Callable[[float], None] = lambda done: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> FactsCheck:
        """Let a model look for facts in labelled messages and remember how well it did; from then on it may
        look in what the user says, or not.

        Args:
            show: called with the share of the messages that are done.
            cancelled: polled while it works; once true, nothing is remembered.

        Raises:
            ExtractionCancelled.
        """
        return self._components.reader.check(extractor, show, cancelled)

    def extractor_check(self, extractor: FactExtractor) -> FactsCheck | None:
        """The newest check of a model; None if it has to be checked first."""
        return self._components.reader.checked(extractor.model)

    # Sources

    def find(self, item_id: str) -> Fact | Message:
        """A fact by its number, or a message by its id or a unique prefix of six digits or more.

        Raises:
            MemoryNotFound: nothing matches, or several messages do.
        """
        return self._call(self._find, item_id.strip())

    def why(self, item_id: str) -> Origin:
        """Where a fact comes from, or what was derived from a message. Raises as `find`."""
        return self._call(self._why, item_id.strip())

    def containing(self, text: str, *, limit: int = 1000) -> list[Message]:
        """Messages that contain this exact text, ignoring case; the newest first."""
        wanted = text.casefold()
        return self._call(self._components.transcript.containing, wanted, limit) if wanted else []

    def mentions(self, text: str) -> tuple[SessionRecord, ...]:
        """The sessions with this text, ignoring case, in the title or in the system prompt."""
        return self._call(self._components.sessions.mentioning, text) if text else ()

    # Forgetting

    def forget(self, message_ids: Sequence[str]) -> Forgotten:
        """Erase messages, the replies to them and everything derived from them, in every file.

        When it returns, no search finds them and no file holds their words, with two exceptions that end by
        themselves. If another process has the vector index open, that process deletes it
        (`Forgotten.pending`). If another program reads the file, its write-ahead log is emptied when that
        program is done (`erased` waits for it).

        Raises:
            MessageNotFound: before anything was changed.
        """
        gone, passages = self._call(self._components.ingest.forget, message_ids)
        return replace(gone, pending=not self.clear_traces(passages)) if gone.messages else gone

    def forget_mentions(self, session_ids: Sequence[str], text: str) -> None:
        """Drop titles and system prompts that contain this text, ignoring case; a session is then named by
        its first question.

        Raises:
            SessionNotFound: before anything was changed.
        """
        self._call(self._forget_mentions, session_ids, text)
        self._components.eraser.run()

    def set_off_record(self, session_id: str, off_record: bool) -> None:
        """Keep a session out of long-term memory and delete its memories, or remember all of it again.

        Raises:
            SessionNotFound.
        """
        if off_record:
            self.clear_traces(self._call(self._components.ingest.exclude_session, session_id))
        else:
            self._call(self._components.ingest.include_session, session_id)
            self._components.vectors.wake()

    def erased(self, seconds: float) -> bool:
        """Wait until what was deleted is in no file any more; False if another program, which reads the
        file, prevents it for longer."""
        return self._components.eraser.wait(seconds)

    def clear_traces(self, passages: Sequence[int]) -> bool:
        """Clear what deleted passages left behind: vectors, postings, the write-ahead log.

        Returns:
            False if another process has the vector index open and must delete it.
        """
        self._components.search.forget()
        gone = not passages or self._components.vectors.erase()
        self._purge()
        return gone

    def finish_purge(self) -> None:
        """Erase what is left of deleted text if a process died, or could not, while it was forgetting."""
        settings = self._components.settings
        if self._call(lambda: settings.purge_due is not None or settings.erasure_due):
            self._components.vectors.erase()
            self._purge()
        else:
            self._call(self._components.database.checkpoint)

    def _purge(self) -> None:
        """Purge the keyword index step by step: between two steps others may write."""
        request = self._call(lambda: self._components.settings.purge_due)
        if request is not None:
            try:
                more = self._call(self._components.passages.purge_some, first=True)
                while more:
                    more = self._call(self._components.passages.purge_some, first=False)
            except KeywordIndexDamaged:  # a new one holds nothing that was deleted
                self._call(self._components.analysis.start_anew)
            self._call(self._components.settings.end_purge, request)
        self._components.eraser.run()

    # On and off

    @property
    def remembering(self) -> bool:
        """Whether new messages enter long-term memory and prompts draw on it."""
        if self._override is not None:
            return self._override
        return self._call(lambda: self._components.settings.remembering)

    def switch(self, on: bool) -> None:
        """Turn remembering on or off in every chat; what is said while it is off never enters."""
        self._call(self._switch, on)

    # Statistics and export

    def stats(self) -> MemoryStats:
        """How much is remembered, and its size on disk."""
        path, vectors = self._components.database.path, self._components.vectors_folder
        files = [path.with_name(path.name + ending) for ending in ("", "-wal", "-shm")] if path else []
        return MemoryStats(
            remembering=self.remembering,
            **self._call(self._counts),
            database_bytes=_size(files),
            index_bytes=_size(vectors.rglob("*") if vectors is not None else ()),
            index=self._components.vectors.status,
            timeouts=self._components.vectors.timeouts,
            searches=self._components.search.counts + self._call(self._earlier_searches),
            rerank_timeouts=self._components.reordering.timeouts,
        )

    def keep_counts(self) -> None:
        """Store how many searches this process made, once, before it closes the store."""
        if counts := self._components.search.counts:
            with suppress(StoreError):  # nobody should wait for statistics, or be told of them
                self._call(self._components.settings.add_searches, asdict(counts))

    def export(self) -> dict[str, Any]:
        """The profile, all summaries, and the messages that are remembered with their chats, as plain JSON
        values."""
        return self._call(self._components.ingest.export)

    def import_export(self, data: bytes, show: Callable[[float], None] = lambda done: None) -> Imported:
        """Add what an export holds and the store lacks, ids and times included; all of it, or nothing.

        What is stored stays as it is. Messages that were forgotten here, or are off the record here, stay so.
        When everything is stored, the messages are made findable step by step: between two steps others may
        write, and if the process ends, another import goes on there.

        Args:
            data: JSON, as `export` gives it.
            show: called with the share of the messages that are done.

        Raises:
            InvalidImport: it is no export, or an id in it names something else here.
            UnknownStrategy: a chat uses a context strategy that this version does not have.
        """
        document = read_document(data)
        for strategy in sorted(document.strategies):
            find_strategy(strategy)
        added, messages = self._call(self._components.ingest.add_document, document)
        for start in range(0, len(messages), _STEP):
            show(start / len(messages))
            self._call(self._components.ingest.make_findable, messages[start : start + _STEP])
        self._components.vectors.wake()
        return added

    # The rest runs on the database's thread.

    def _forget_mentions(self, session_ids: Sequence[str], text: str) -> None:
        with self._components.database.atomic():
            for session_id in session_ids:
                self._components.sessions.clear_mentions(session_id, text)

    def _find(self, item_id: str) -> Fact | Message:
        if _FACT.fullmatch(item_id):
            try:
                return self._components.facts.get(int(item_id))
            except FactNotFound:
                pass
        is_prefix = _MESSAGE.fullmatch(item_id)
        found = self._components.transcript.with_id_prefix(item_id.lower()) if is_prefix else []
        if len(found) != 1:
            raise MemoryNotFound(item_id, several=len(found) > 1)
        return found[0]

    def _why(self, item_id: str) -> Origin:
        item = self._find(item_id)
        if isinstance(item, Message):
            message = item
        elif item.message_id is None:
            return Origin(item=item, related=self._components.facts.related(item.id))
        else:
            message = self._components.transcript.get(item.message_id)
        passages, embedded = self._components.passages.counts_of_message(message.id)
        return Origin(
            item=item,
            message=message,
            session=self._components.sessions.get(message.session_id),
            facts=self._components.facts.made_from(message.id),
            summaries=self._components.summaries.made_from(message.id),
            passages=passages,
            embedded=embedded,
            instructions=any(
                has_instructions(message.content[span.start : span.end]) for span in message.quoted
            ),
            related=self._components.facts.related(item.id) if isinstance(item, Fact) else (),
        )

    def _switch(self, on: bool) -> None:
        self._components.settings.remembering = on

    def _earlier_searches(self) -> SearchCounts:
        return SearchCounts(**self._components.settings.searches)

    def _counts(self) -> dict[str, Any]:
        row = self._components.database.query_one(_COUNTS)
        settings = self._components.settings
        current, following = settings.embedder, settings.next_embedder
        return {
            **(dict(row) if row is not None else {}),
            "embedded": self._components.stored.counts(following or current[0])[1] if current else 0,
            "embedder": current[0] if current else None,
            "next_embedder": following,
        }


def _size(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # deleted meanwhile
            continue
    return total


_COUNTS = """
    SELECT
        (SELECT count(*) FROM sessions) AS sessions,
        (SELECT count(*) FROM sessions WHERE off_record) AS off_record,
        (SELECT count(DISTINCT message_id) FROM passages) AS messages,
        (SELECT count(*) FROM messages WHERE forgotten) AS forgotten,
        (SELECT count(*) FROM passages) AS passages,
        (SELECT count(*) FROM facts) AS facts,
        (SELECT count(*) FROM facts WHERE pinned) AS pinned,
        (SELECT count(*) FROM summaries) AS summaries
"""
