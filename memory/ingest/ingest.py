"""What goes into the store and into long-term memory, and what leaves them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from memory.errors import KeywordIndexDamaged
from memory.ingest.exports import exported
from memory.ingest.import_file import Document
from memory.ingest.imports import add_document
from memory.storage import Database, Facts, Passages, Sessions, Settings, Summaries, Transcript
from memory.types import (
    Forgotten,
    Head,
    Imported,
    Message,
    PromptSources,
    Quoted,
    ReplyStatus,
    Role,
    SessionRecord,
)

__all__ = ["Ingest"]

P = ParamSpec("P")
T = TypeVar("T")


def _whatever_the_index(
    method: Callable[Concatenate[Ingest, P], T],
) -> Callable[Concatenate[Ingest, P], T]:
    """Do a transaction again if the keyword index is damaged: a message must be stored, or erased."""

    @wraps(method)
    def guarded(ingest: Ingest, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(ingest, *args, **kwargs)
        except KeywordIndexDamaged:
            ingest._repair()
            return method(ingest, *args, **kwargs)

    return guarded


class Ingest:
    """Adds messages together with what is learned from them, and removes messages or whole sessions.

    Every method runs on the database's thread and is one transaction. Removing deletes rows only; the
    caller then clears what they left behind: vectors, postings, the write-ahead log.
    """

    def __init__(
        self,
        database: Database,
        *,
        sessions: Sessions,
        transcript: Transcript,
        passages: Passages,
        facts: Facts,
        summaries: Summaries,
        settings: Settings,
        repair: Callable[[], None],
    ) -> None:
        """
        Args:
            repair: replaces a damaged keyword index; on the database's thread.
        """
        self._database = database
        self._sessions = sessions
        self._transcript = transcript
        self._passages = passages
        self._facts = facts
        self._summaries = summaries
        self._settings = settings
        self._repair = repair

    @_whatever_the_index
    def add_message(
        self,
        session_id: str,
        role: Role,
        content: str,
        parent_id: str | Head | None,
        at: str | None,
        recorded: bool,
        quoted: Sequence[Quoted] = (),
    ) -> Message:
        """Store a finished message and index it. Raises as `Transcript.add`."""
        with self._database.atomic():
            message = self._transcript.add(
                session_id, role, content, parent_id, at, recorded=recorded, quoted=quoted
            )
            self.index(message)
            return message

    def begin_reply(
        self,
        session_id: str,
        parent_id: str | Head | None,
        model: str | None,
        sources: PromptSources | None,
        recorded: bool,
    ) -> Message:
        """Add an empty reply, with what its prompt drew on and what its question taught. Raises as
        `Transcript.begin_reply`."""
        with self._database.atomic():
            if sources is not None:
                asked = self._sessions.get(session_id).head_id if isinstance(parent_id, Head) else parent_id
                learned = () if asked is None else self._facts.made_from(asked)
                sources = replace(sources, learned=tuple(fact.id for fact in learned))
            return self._transcript.begin_reply(
                session_id, parent_id, model, sources=sources, recorded=recorded
            )

    @_whatever_the_index
    def finish_reply(
        self,
        message_id: str,
        content: str,
        status: ReplyStatus,
        finish_reason: str | None,
        timings: Mapping[str, Any] | None,
        error: str | None,
    ) -> None:
        """Store a reply's final state and index its text. Raises `MessageNotFound`."""
        with self._database.atomic():
            self._transcript.finish_reply(message_id, content, status, finish_reason, timings, error)
            self._passages.add(message_id)

    def index(self, message: Message) -> None:
        """Make a finished message findable and extract the facts the user states in it."""
        with self._database.atomic():
            self._passages.add(message.id)
            if message.role == "user" and self._passages.of_message(message.id):
                from memory.ingest.facts import extract_statements  # compiles many patterns

                for statement in extract_statements(message):
                    self._facts.add(statement.text, statement.kind, message.id, statement.slot)

    @_whatever_the_index
    def forget(self, message_ids: Sequence[str]) -> tuple[Forgotten, list[int]]:
        """Erase messages and the replies to them; only their places in the tree stay.

        Returns:
            What was erased, and the ids of the passages whose traces the caller must clear.

        Raises:
            MessageNotFound: before anything was changed.
        """
        with self._database.atomic():
            messages = self._with_replies(message_ids)
            passages = [number for item in messages for number in self._passages.of_message(item.id)]
            self._passages.remove_messages([item.id for item in messages])
            facts = sum(self._facts.remove_made_from(item.id) for item in messages)
            summaries = sum(self._drop_summaries(item) for item in messages)
            for item in messages:
                self._transcript.forget(item.id)
            for item in messages:
                if item.role == "user":
                    self._sessions.clear_title_from(item.session_id, item.content)
            self._request_purge(passages)
        sessions = tuple(dict.fromkeys(item.session_id for item in messages))
        gone = Forgotten(
            messages=tuple(item.id for item in messages),
            facts=facts,
            summaries=summaries,
            passages=len(passages),
            sessions=sessions,
        )
        return gone, passages

    @_whatever_the_index
    def delete_session(self, session_id: str) -> list[int]:
        """Delete a session; returns the passages whose traces the caller must clear.

        Raises:
            SessionNotFound.
        """
        with self._database.atomic():
            passages = self._passages.of_session(session_id)
            self._passages.remove_messages([item.id for item in self._transcript.all_of(session_id)])
            self._sessions.delete(session_id)
            self._facts.settle()
            self._request_purge(passages)
            return passages

    @_whatever_the_index
    def exclude_session(self, session_id: str) -> list[int]:
        """Take a session off the record; returns the passages whose traces the caller must clear.

        Raises:
            SessionNotFound.
        """
        with self._database.atomic():
            self._sessions.set_off_record(session_id, True)
            passages = self._passages.of_session(session_id)
            messages = self._transcript.all_of(session_id)
            self._passages.remove_messages([item.id for item in messages])
            for item in messages:
                self._facts.remove_made_from(item.id)
            self._summaries.remove_of_session(session_id)
            self._request_purge(passages)
        return passages

    @_whatever_the_index
    def include_session(self, session_id: str) -> SessionRecord:
        """Put a session back on the record and index everything said in it. Raises `SessionNotFound`."""
        with self._database.atomic():
            self._sessions.set_off_record(session_id, False)
            for item in self._transcript.all_of(session_id):
                if item.status != "streaming" and not self._passages.of_message(item.id):
                    self.index(item)
            return self._sessions.get(session_id)

    def export(self) -> dict[str, Any]:
        """Long-term memory as plain JSON values."""
        return exported(self._database, self._facts, self._summaries)

    def add_document(self, document: Document) -> tuple[Imported, list[str]]:
        """Add an export; returns what was added, and the messages for `make_findable`.

        Raises:
            InvalidImport: it contradicts what is stored.
        """
        return add_document(document, self._database, self._facts)

    @_whatever_the_index
    def make_findable(self, message_ids: Sequence[str]) -> None:
        """Store the passages of messages that have none; ids that are gone are left out."""
        with self._database.atomic():
            for message_id in message_ids:
                if not self._passages.of_message(message_id):
                    self._passages.add(message_id)

    def _request_purge(self, passages: Sequence[int]) -> None:
        if passages:
            self._settings.request_purge()

    def _with_replies(self, message_ids: Sequence[str]) -> list[Message]:
        """The messages, and the replies to those of the user; messages already forgotten left out."""
        found: dict[str, Message] = {}
        for message_id in message_ids:
            message = self._transcript.get(message_id)
            replies = self._transcript.replies(message_id) if message.role == "user" else []
            found |= {item.id: item for item in (message, *replies) if not item.forgotten}
        return list(found.values())

    def _drop_summaries(self, message: Message) -> int:
        before = self._summaries.count()
        self._summaries.remove_made_from(message.id)
        return before - self._summaries.count()
