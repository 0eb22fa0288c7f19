"""Long-term memory as one document of plain JSON values, which `memory.ingest.imports` reads again."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from memory.storage import Database, Facts, Row, Summaries

__all__ = ["FORMAT", "exported"]

FORMAT: Final = 2

# What a search can find, and what facts and summaries were made from.
_MESSAGES = """
    SELECT messages.*, sessions.title AS session_title FROM messages JOIN sessions ON sessions.id = session_id
    WHERE NOT forgotten AND messages.id IN (
        SELECT message_id FROM passages WHERE message_id IS NOT NULL
        UNION SELECT message_id FROM fact_sources
        UNION SELECT message_id FROM summary_sources
    )
    ORDER BY messages.number
"""
_SESSIONS = """
    SELECT id, title, titled, created_at, updated_at, model, strategy, system_prompt, head_id, project, scope
    FROM sessions WHERE id IN (SELECT value FROM json_each(?)) ORDER BY number
"""

_FACTS = """
    SELECT id, written, slot, day, (
        SELECT json_group_object(message_id, day) FROM fact_sources
        WHERE fact_id = facts.id AND day IS NOT NULL
    ) AS days FROM facts
"""
_READERS = """
    SELECT message_id, json_group_array(model) AS models
    FROM (SELECT message_id, model FROM fact_readings ORDER BY message_id, model) GROUP BY message_id
"""


def exported(database: Database, facts: Facts, summaries: Summaries) -> dict[str, Any]:
    """The profile, all summaries, the messages that are remembered, and their chats.

    A message that is not remembered is left out; what followed it follows what came before it.
    """
    rows = database.query(_MESSAGES)
    kept = {row["id"] for row in rows}
    chats = json.dumps(sorted({row["session_id"] for row in rows}))
    parents = {
        row["id"]: row["parent_id"]
        for row in database.query(
            "SELECT id, parent_id FROM messages WHERE session_id IN (SELECT value FROM json_each(?))",
            (chats,),
        )
    }

    def nearest(message_id: str | None) -> str | None:
        while message_id is not None and message_id not in kept:
            message_id = parents[message_id]
        return message_id

    more = {row["id"]: row for row in database.query(_FACTS)}
    readers = {row["message_id"]: json.loads(row["models"]) for row in database.query(_READERS)}
    return {
        "format": FORMAT,
        "sessions": [
            {**dict(row), "titled": bool(row["titled"]), "head_id": nearest(row["head_id"])}
            for row in database.query(_SESSIONS, (chats,))
        ],
        "messages": [
            _message(row) | {"parent_id": nearest(row["parent_id"]), "read_by": readers.get(row["id"], [])}
            for row in rows
        ],
        "facts": [fact.to_json() | _more(more[fact.id]) for fact in facts.list()],
        "summaries": [asdict(summary) | {"sources": list(summary.sources)} for summary in summaries.all()],
    }


def _more(row: Row) -> dict[str, Any]:
    """What a fact does not tell of itself; `days`: what it means by the time of each source."""
    return {
        "written": bool(row["written"]),
        "slot": row["slot"],
        "written_day": row["day"],
        "days": json.loads(row["days"]),
    }


def _message(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "session_id": row["session_id"],
        "session_title": row["session_title"],
        "parent_id": row["parent_id"],
        "role": row["role"],
        "text": row["content"],
        "at": row["created_at"],
        "status": row["status"],
        "recorded": not row["unrecorded"],
        "model": row["model"],
        "finish_reason": row["finish_reason"],
        "timings": _json(row["timings"]),
        "error": row["error"],
        "sources": _json(row["sources"]),
        "quoted": _json(row["quoted"]) or [],
    }


def _json(text: str | None) -> Any:
    return json.loads(text) if text is not None else None
