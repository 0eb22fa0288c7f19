"""The storage classes on one database, without the façade, and a chat that grows in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from memory_tests.template import copy_template

from memory.storage.database import Database
from memory.storage.facts import Facts
from memory.storage.messages import Transcript
from memory.storage.sessions import Sessions
from memory.storage.summaries import Summaries
from memory.types import HEAD, Head, Message, Role

__all__ = ["Store", "open_store"]

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """Each class of the storage room, on a real file."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sessions = Sessions(database)
        self.transcript = Transcript(database, self.sessions)
        self.summaries = Summaries(database)
        self.facts = Facts(database)

    def call(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.database.call(work, *args, **kwargs)

    def session(self) -> str:
        return self.call(self.sessions.create, None, None, None).id

    def say(
        self, session_id: str, content: str, role: Role = "user", parent_id: str | Head | None = HEAD
    ) -> Message:
        return self.call(self.transcript.add, session_id, role, content, parent_id)

    def talk(self, session_id: str, exchanges: int, words: int = 20) -> list[Message]:
        """Questions and answers of `words` words each; the subject of exchange 3 is "topic3"."""
        told = []
        for number in range(exchanges):
            for role, noun in (("user", "question"), ("assistant", "answer")):
                text = f"The {noun} number{number} is about " + f"topic{number} " * (words - 6) + "today."
                told.append(self.say(session_id, text, role))  # type: ignore[arg-type]
        return told

    def branch(self, session_id: str, head: str | None = None) -> list[str]:
        return [message.id for message in self.call(self.transcript.branch, session_id, head)]

    def forget(self, message_id: str) -> None:
        """Forget a message as the store does: erase its text, keep its place in the tree."""
        self.call(
            self.database.execute,
            "UPDATE messages SET content = '', forgotten = 1 WHERE id = ?",
            (message_id,),
        )

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in self.call(self.database.query, sql)]


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """The store at this path, which is created if it is missing."""
    database = Database(path if path.exists() else copy_template(path))
    try:
        yield Store(database)
    finally:
        database.close()
