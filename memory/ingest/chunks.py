"""What enters long-term memory, and what leaves it again. Every method runs on the database's thread."""

from __future__ import annotations

from collections.abc import Sequence

from memory.ingest.facts import extract_statements
from memory.storage.database import Database
from memory.storage.facts import Facts
from memory.storage.messages import Transcript
from memory.storage.passages import Passages
from memory.storage.sessions import Sessions
from memory.storage.state import Settings
from memory.storage.summaries import Summaries
from memory.types import Forgotten, Message, SessionRecord

__all__ = ["Intake"]


class Intake:
    """Takes finished messages in and takes messages, or whole sessions, out.

    Taking out deletes rows; the caller then clears their traces: vectors, postings, the write-ahead log.
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
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._transcript = transcript
        self._passages = passages
        self._facts = facts
        self._summaries = summaries
        self._settings = settings

    def enter(self, message: Message) -> None:
        """Make a finished message findable, and learn what the person says of themselves in it."""
        with self._database.atomic():
            self._passages.add(message.id)
            if message.role == "user" and self._passages.of_message(message.id):
                for statement in extract_statements(message):
                    self._facts.add(statement.text, statement.kind, message.id)

    def forget(self, message_ids: Sequence[str]) -> tuple[Forgotten, list[int]]:
        """Take messages and the replies to them out of everything but the shape of the tree.

        Returns:
            What is gone, and the ids of the passages whose traces are left to clear.

        Raises:
            MessageNotFound: before anything was changed.
        """
        with self._database.atomic():
            messages = self._with_replies(message_ids)
            passages = [number for item in messages for number in self._passages.of_message(item.id)]
            self._passages.remove_of([item.id for item in messages])
            facts = sum(self._facts.remove_made_from(item.id) for item in messages)
            summaries = sum(self._drop_summaries(item) for item in messages)
            for item in messages:
                self._transcript.forget(item.id)
            for item in messages:
                if item.role == "user":
                    self._sessions.untitle(item.session_id, item.content)
            self._note_purge(passages)
        sessions = tuple(dict.fromkeys(item.session_id for item in messages))
        gone = Forgotten(
            messages=tuple(item.id for item in messages),
            facts=facts,
            summaries=summaries,
            passages=len(passages),
            sessions=sessions,
        )
        return gone, passages

    def take_out(self, session_id: str) -> list[int]:
        """A session goes off the record; returns the passages whose traces are left to clear."""
        with self._database.atomic():
            self._sessions.set_off_record(session_id, True)
            passages = self._passages.of_session(session_id)
            messages = self._transcript.all_of(session_id)
            self._passages.remove_of([item.id for item in messages])
            for item in messages:
                self._facts.remove_made_from(item.id)
            self._note_purge(passages)
        return passages

    def take_in(self, session_id: str) -> SessionRecord:
        """A session is on the record again, with all that was said in it."""
        with self._database.atomic():
            self._sessions.set_off_record(session_id, False)
            for item in self._transcript.all_of(session_id):
                if item.status != "streaming" and not self._passages.of_message(item.id):
                    self.enter(item)
            return self._sessions.get(session_id)

    def _note_purge(self, passages: Sequence[int]) -> None:
        if passages:
            self._settings.purge_due = True

    def _with_replies(self, message_ids: Sequence[str]) -> list[Message]:
        """The messages and the replies to those of the person; a forgotten one has nothing to lose."""
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
