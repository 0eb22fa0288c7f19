"""The tree of messages. Every method runs on the database's thread.

Each message has a parent; a session points at the last message of its current branch, its head.
Editing and regenerating add siblings and copy nothing.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from memory.errors import MessageNotFound
from memory.storage.database import Database, Row, now
from memory.storage.sessions import Sessions
from memory.text import check_quoted, quoted_as_json, quoted_from_json, storable
from memory.types import HEAD, Head, Message, PromptSources, Quoted, ReplyStatus, Role

__all__ = ["Transcript", "is_alive"]

_BRANCH = """
    WITH RECURSIVE branch (message_id, parent, height) AS (
        SELECT id, parent_id, 0 FROM messages WHERE id = ? AND session_id = ?
        UNION ALL
        SELECT messages.id, messages.parent_id, height + 1 FROM messages JOIN branch ON messages.id = parent
    )
    SELECT messages.* FROM branch JOIN messages ON messages.id = message_id ORDER BY height DESC
"""
# The versions of a message and all that hangs on them, itself included.
_VERSIONS = """
    WITH RECURSIVE versions (message_id) AS (
        SELECT sibling.id FROM messages AS mine JOIN messages AS sibling
            ON sibling.session_id = mine.session_id AND sibling.parent_id IS mine.parent_id
            AND sibling.role = mine.role
        WHERE mine.id = ?
        UNION
        SELECT messages.id FROM messages JOIN versions ON messages.parent_id = versions.message_id
    )
    SELECT message_id FROM versions
"""
# The newest message at or below a message ends the branch that was viewed last.
_NEWEST_BELOW = """
    WITH RECURSIVE below (message_id) AS (
        SELECT id FROM messages WHERE id = ?
        UNION ALL
        SELECT messages.id FROM messages JOIN below ON messages.parent_id = message_id
    )
    SELECT messages.* FROM below JOIN messages ON messages.id = message_id ORDER BY number DESC LIMIT 1
"""


class Transcript:
    """Adds messages, follows branches, stores the text of streaming replies."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions

    def add(
        self,
        session_id: str,
        role: Role,
        content: str,
        parent_id: str | Head | None = HEAD,
        at: str | None = None,
        *,
        recorded: bool = True,
        quoted: Sequence[Quoted] = (),
    ) -> Message:
        """Add a finished message; it becomes the head. Raises `SessionNotFound`, `MessageNotFound`.

        Args:
            recorded: False keeps it out of long-term memory forever.
            quoted: the parts that are not the author's own words.
        """
        text = storable(content)
        check_quoted(text, quoted)
        with self._database.atomic():
            message_id = self._insert(
                session_id, role, text, parent_id, "complete", at=at, recorded=recorded, quoted=quoted
            )
            question = content if role == "user" else None
            self._sessions.touch(session_id, head_id=message_id, question=question)
            return self.get(message_id)

    def begin_reply(
        self,
        session_id: str,
        parent_id: str | Head | None,
        model: str | None,
        *,
        sources: PromptSources | None = None,
        recorded: bool = True,
    ) -> Message:
        """Add an empty reply that this process will write; it becomes the head."""
        with self._database.atomic():
            message_id = self._insert(
                session_id,
                "assistant",
                "",
                parent_id,
                "streaming",
                model,
                os.getpid(),
                sources=sources,
                recorded=recorded,
            )
            self._sessions.touch(session_id, head_id=message_id)
            return self.get(message_id)

    def update_reply(self, message_id: str, content: str) -> None:
        """Store the text so far. A reply that has ended stays as it is."""
        changed = self._database.execute(
            "UPDATE messages SET content = ? WHERE id = ? AND status = 'streaming'",
            (storable(content), message_id),
        )
        if not changed:
            self.get(message_id)

    def finish_reply(
        self,
        message_id: str,
        content: str,
        status: ReplyStatus,
        finish_reason: str | None,
        timings: Mapping[str, Any] | None,
        error: str | None,
    ) -> None:
        """Store the final text and how the reply ended; of a forgotten reply only the latter."""
        with self._database.atomic():
            reply = self.get(message_id)
            if reply.forgotten:
                content, error = "", None
            self._database.execute(
                "UPDATE messages SET content = ?, status = ?, finish_reason = ?, timings = ?, error = ?,"
                " writer_pid = NULL WHERE id = ?",
                (
                    storable(content),
                    status,
                    finish_reason,
                    json.dumps(dict(timings)) if timings is not None else None,
                    storable(error) if error is not None else None,
                    message_id,
                ),
            )
            if status == "complete" and reply.sources is not None:
                self._database.execute(
                    "UPDATE messages SET of_use_at = ? WHERE NOT forgotten"
                    " AND id IN (SELECT value FROM json_each(?))",
                    (now(), json.dumps(reply.sources.memories)),
                )
            self._sessions.touch(reply.session_id)

    def forget(self, message_id: str) -> None:
        """Erase the text; the place in the tree stays. Later writes of a streaming reply are discarded."""
        self._database.execute(
            "UPDATE messages SET content = '', error = NULL, sources = NULL, quoted = NULL, forgotten = 1,"
            " of_use_at = NULL, writer_pid = NULL,"
            " status = CASE status WHEN 'streaming' THEN 'cancelled' ELSE status END"
            " WHERE id = ?",
            (message_id,),
        )

    def versions_of(self, message_id: str) -> list[str]:
        """The ids of all versions of a message and of all that was said after any of them."""
        return [row["message_id"] for row in self._database.query(_VERSIONS, (message_id,))]

    def replies(self, message_id: str) -> list[Message]:
        """The replies to a message, oldest first."""
        rows = self._database.query(
            "SELECT * FROM messages WHERE parent_id = ? AND role = 'assistant' ORDER BY number", (message_id,)
        )
        return [_message(row) for row in rows]

    def recover_interrupted(self) -> int:
        """Mark streaming replies whose process died; returns how many."""
        with self._database.atomic():
            rows = self._database.query("SELECT * FROM messages WHERE status = 'streaming'")
            dead = [row["id"] for row in rows if not is_alive(row["writer_pid"], row["created_at"])]
            for message_id in dead:
                self._database.execute(
                    "UPDATE messages SET status = 'interrupted', writer_pid = NULL WHERE id = ?",
                    (message_id,),
                )
            return len(dead)

    def get(self, message_id: str) -> Message:
        """One message. Raises `MessageNotFound`."""
        row = self._database.query_one("SELECT * FROM messages WHERE id = ?", (message_id,))
        if row is None:
            raise MessageNotFound(message_id)
        return _message(row)

    def branch(self, session_id: str, head: str | None = None) -> list[Message]:
        """The messages from the root to `head`, or to the session's head."""
        tip = head if head is not None else self._sessions.get(session_id).head_id
        if tip is None:
            return []
        rows = self._database.query(_BRANCH, (tip, session_id))
        if not rows:
            raise MessageNotFound(tip)
        return [_message(row) for row in rows]

    def all_of(self, session_id: str) -> list[Message]:
        """All messages of a session, those of every branch, oldest first."""
        rows = self._database.query(
            "SELECT * FROM messages WHERE session_id = ? ORDER BY number", (session_id,)
        )
        return [_message(row) for row in rows]

    def with_id_prefix(self, prefix: str) -> list[Message]:
        """At most two messages whose ids start with these hexadecimal digits."""
        rows = self._database.query("SELECT * FROM messages WHERE id GLOB ? LIMIT 2", (f"{prefix}*",))
        return [_message(row) for row in rows]

    def containing(self, folded: str, limit: int) -> list[Message]:
        """Messages that contain this case-folded text, the newest first."""
        # SQLite folds ASCII only.
        rows = self._database.query("SELECT id, content FROM messages ORDER BY number DESC")
        found = [row["id"] for row in rows if folded in row["content"].casefold()]
        return [self.get(message_id) for message_id in found[:limit]]

    def siblings(self, message_id: str) -> list[Message]:
        """The messages with the same parent, this one included, oldest first."""
        message = self.get(message_id)
        rows = self._database.query(
            "SELECT * FROM messages WHERE session_id = ? AND parent_id IS ? ORDER BY number",
            (message.session_id, message.parent_id),
        )
        return [_message(row) for row in rows]

    def select_branch(self, message_id: str) -> Message:
        """Switch to the branch through this message; returns its last message."""
        with self._database.atomic():
            message = self.get(message_id)
            row = self._database.query_one(_NEWEST_BELOW, (message_id,))
            tip = _message(row) if row is not None else message
            self._sessions.touch(message.session_id, head_id=tip.id)
            return tip

    def _insert(
        self,
        session_id: str,
        role: Role,
        content: str,
        parent_id: str | Head | None,
        status: str,
        model: str | None = None,
        writer_pid: int | None = None,
        at: str | None = None,
        *,
        sources: PromptSources | None = None,
        recorded: bool = True,
        quoted: Sequence[Quoted] = (),
    ) -> str:
        session = self._sessions.get(session_id)
        parent = session.head_id if isinstance(parent_id, Head) else parent_id
        if parent is not None and self.get(parent).session_id != session_id:
            raise MessageNotFound(parent)
        message_id = uuid.uuid4().hex
        self._database.execute(
            "INSERT INTO messages"
            " (id, session_id, parent_id, role, content, status, created_at, model, writer_pid, sources,"
            " unrecorded, quoted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message_id,
                session_id,
                parent,
                role,
                content,
                status,
                at or now(),
                model,
                writer_pid,
                json.dumps(asdict(sources)) if sources is not None else None,
                int(not recorded),
                quoted_as_json(quoted),
            ),
        )
        return message_id


def _message(row: Row) -> Message:
    return Message(
        id=row["id"],
        session_id=row["session_id"],
        parent_id=row["parent_id"],
        role=row["role"],
        content=row["content"],
        status=row["status"],
        created_at=row["created_at"],
        model=row["model"],
        finish_reason=row["finish_reason"],
        timings=json.loads(row["timings"]) if row["timings"] is not None else None,
        error=row["error"],
        forgotten=bool(row["forgotten"]),
        sources=_sources(row["sources"]),
        quoted=quoted_from_json(row["quoted"]),
    )


def _sources(text: str | None) -> PromptSources | None:
    if text is None:
        return None
    found = json.loads(text)
    lists: dict[str, Any] = {name: tuple(value) for name, value in found.items() if name != "strategy"}
    return PromptSources(strategy=found["strategy"], **lists)


_CLOCK_SLACK_S = 2.0


def is_alive(pid: int | None, since: str) -> bool:
    """Whether the process that had this id at `since` (UTC, ISO 8601) is still running.

    Process ids are reused: after a reboot, and in a container nearly always. So a process that started
    later is a different one, even if it is this one.
    """
    if pid is None:
        return False
    import psutil  # not needed to draw the first screen

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.create_time() <= datetime.fromisoformat(since).timestamp() + _CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
