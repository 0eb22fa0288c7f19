"""Summaries, each with the messages it stands for, and which of them cover a branch.

A message that says nothing (a system message, which is always sent, an empty reply, a forgotten message)
may lie between the sources of a summary; any other message may not. The methods of `Summaries` run on the
database's thread; the functions are pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from memory.errors import MessageNotFound
from memory.storage.database import Database, Row, now
from memory.text import storable
from memory.types import Role, Summary

__all__ = ["Gap", "Summaries", "cover", "gaps", "says_something"]

_SELECT = """
    SELECT summaries.*, (
        SELECT json_group_array(message_id)
        FROM (SELECT message_id FROM summary_sources WHERE summary_id = summaries.id ORDER BY position)
    ) AS sources
    FROM summaries
"""
# A summary of a forgotten message is never shown, even if it has not been removed yet.
_SHOWN = """
    NOT EXISTS (
        SELECT 1 FROM summary_sources JOIN messages ON messages.id = message_id
        WHERE summary_id = summaries.id AND forgotten
    )
"""
# From the last source up to the first, or to the root if the first is not above the last.
_PATH = """
    WITH RECURSIVE path (message_id, parent, height) AS (
        SELECT id, parent_id, 0 FROM messages WHERE id = ? AND session_id = ?
        UNION ALL
        SELECT messages.id, messages.parent_id, height + 1
        FROM messages JOIN path ON messages.id = parent WHERE message_id <> ?
    )
    SELECT message_id FROM path ORDER BY height DESC
"""


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that lost their summary.

    Args:
        sources: the messages that a new summary may stand for, oldest first.
    """

    session_id: str
    sources: tuple[str, ...]


class Summaries:
    """Stores summaries and finds those that are valid on a branch.

    A summary stands for a contiguous part of one branch, so it is valid on every branch through that
    part.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, session_id: str, level: int, text: str, sources: Sequence[str]) -> Summary:
        """Store a summary. One with the same level and sources is stored only once.

        Args:
            level: 0 for a summary of messages, n + 1 for a summary of summaries of level n.
            sources: ids of the messages it stands for, oldest first.

        Raises:
            MessageNotFound: a source was deleted or forgotten meanwhile, or its session is off the record.
            ValueError: the text is empty, or the sources are not a contiguous part of one branch.
        """
        kept = storable(text.strip())
        if not kept:
            raise ValueError("A summary needs a text.")
        with self._database.atomic():
            self._check(session_id, sources)
            for known in self._made_from(sources[-1]):
                if (known.level, known.sources) == (level, tuple(sources)):
                    return known
            return self._insert(session_id, level, kept, sources)

    def list(self, session_id: str) -> tuple[Summary, ...]:
        """All summaries of a session, those of other branches included, oldest first."""
        return self._select(f"session_id = ? AND {_SHOWN} ORDER BY id", session_id)

    def all(self) -> tuple[Summary, ...]:
        """The summaries of all sessions, oldest first."""
        return tuple(_summary(row) for row in self._database.query(f"{_SELECT} WHERE {_SHOWN} ORDER BY id"))

    def made_from(self, message_id: str) -> tuple[Summary, ...]:
        """Every summary that has this message among its sources, on any level."""
        return self._made_from(message_id)

    def count(self) -> int:
        """The number of summaries in all sessions."""
        row = self._database.query_one("SELECT count(*) AS summaries FROM summaries")
        return int(row["summaries"]) if row is not None else 0

    def on_branch(self, message_ids: Sequence[str]) -> tuple[Summary, ...]:
        """Every summary that is valid on this branch, on any level.

        Args:
            message_ids: the messages of a branch or of a contiguous part of it, oldest first.
        """
        positions = {message_id: place for place, message_id in enumerate(message_ids)}
        between: dict[Summary, tuple[str, ...]] = {}
        for item in self._of_session_with(message_ids):
            found = gaps(item.sources, message_ids, positions)
            if found is not None:
                between[item] = found
        silent = self._silent({message_id for found in between.values() for message_id in found})
        return tuple(item for item, found in between.items() if silent.issuperset(found))

    def for_branch(self, message_ids: Sequence[str]) -> tuple[Summary, ...]:
        """The summaries to show for these messages, oldest first, without overlaps.

        Args:
            message_ids: as for `on_branch`.
        """
        return cover(self.on_branch(message_ids), message_ids)

    def forgotten(self, session_id: str) -> frozenset[str]:
        """Ids of the forgotten messages, which no summary may draw on."""
        rows = self._database.query(
            "SELECT id FROM messages WHERE session_id = ? AND forgotten", (session_id,)
        )
        return frozenset(row["id"] for row in rows)

    def remove_made_from(self, message_id: str) -> tuple[Gap, ...]:
        """Delete every summary that has this message among its sources, on any level.

        The next checkpoint erases the text from the file.

        Returns:
            What to summarise again without the message; higher levels follow from that.
        """
        with self._database.atomic():
            removed = self._made_from(message_id)
            for item in removed:
                self._database.execute("DELETE FROM summaries WHERE id = ?", (item.id,))
        left = [
            Gap(item.session_id, tuple(source for source in item.sources if source != message_id))
            for item in removed
            if item.level == 0
        ]
        return tuple(gap for gap in left if gap.sources)

    def remove_of_session(self, session_id: str) -> None:
        """Delete a session's summaries; the next checkpoint erases their texts from the file."""
        self._database.execute("DELETE FROM summaries WHERE session_id = ?", (session_id,))

    def _check(self, session_id: str, sources: Sequence[str]) -> None:
        if not sources:
            raise ValueError("A summary needs sources.")
        known = self._speaking(session_id, sources)
        for source in sources:
            if source not in known:
                raise MessageNotFound(source)
        rows = self._database.query(_PATH, (sources[-1], session_id, sources[0]))
        path = [row["message_id"] for row in rows]
        between = gaps(sources, path, {message_id: place for place, message_id in enumerate(path)})
        if between is None or self._silent(set(between)) != set(between):
            raise ValueError("The sources of a summary must be a contiguous part of one branch.")

    def _speaking(self, session_id: str, message_ids: Sequence[str]) -> set[str]:
        rows = self._database.query(
            "SELECT messages.id FROM messages JOIN sessions ON sessions.id = session_id"
            " WHERE session_id = ? AND NOT forgotten AND NOT off_record"
            " AND messages.id IN (SELECT value FROM json_each(?))",
            (session_id, json.dumps(list(message_ids))),
        )
        return {row["id"] for row in rows}

    def _silent(self, message_ids: Iterable[str]) -> set[str]:
        wanted = list(message_ids)
        if not wanted:
            return set()
        rows = self._database.query(
            "SELECT id, role, content, forgotten FROM messages WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(wanted),),
        )
        return {
            row["id"] for row in rows if row["forgotten"] or not says_something(row["role"], row["content"])
        }

    def _of_session_with(self, message_ids: Sequence[str]) -> tuple[Summary, ...]:
        if not message_ids:
            return ()
        where = f"session_id = (SELECT session_id FROM messages WHERE id = ?) AND {_SHOWN} ORDER BY id"
        return self._select(where, message_ids[0])

    def _made_from(self, message_id: str) -> tuple[Summary, ...]:
        where = "id IN (SELECT summary_id FROM summary_sources WHERE message_id = ?) ORDER BY id"
        return self._select(where, message_id)

    def _select(self, where: str, value: str) -> tuple[Summary, ...]:
        return tuple(_summary(row) for row in self._database.query(f"{_SELECT} WHERE {where}", (value,)))

    def _insert(self, session_id: str, level: int, text: str, sources: Sequence[str]) -> Summary:
        at = now()
        rows = self._database.query(
            "INSERT INTO summaries (session_id, level, text, created_at) VALUES (?, ?, ?, ?) RETURNING id",
            (session_id, level, text, at),
        )
        summary_id = int(rows[0]["id"])
        for position, source in enumerate(sources):
            self._database.execute(
                "INSERT INTO summary_sources (summary_id, position, message_id) VALUES (?, ?, ?)",
                (summary_id, position, source),
            )
        return Summary(summary_id, session_id, level, text, tuple(sources), at)


def _summary(row: Row) -> Summary:
    return Summary(
        id=row["id"],
        session_id=row["session_id"],
        level=row["level"],
        text=row["text"],
        sources=tuple(json.loads(row["sources"])),
        created_at=row["created_at"],
    )


def says_something(role: Role, content: str) -> bool:
    """Whether a message can be a source of a summary."""
    return role != "system" and any(char.isprintable() and not char.isspace() for char in content)


def gaps(
    sources: Sequence[str], branch: Sequence[str], positions: Mapping[str, int]
) -> tuple[str, ...] | None:
    """The ids between the sources on a branch; None if the sources are not on it in this order.

    Args:
        positions: the index in `branch` of each id.
    """
    places = [positions.get(source, -1) for source in sources]
    if not places or min(places) < 0 or any(one >= other for one, other in pairwise(places)):
        return None
    taken = set(places)
    return tuple(branch[place] for place in range(places[0], places[-1]) if place not in taken)


def cover(summaries: Iterable[Summary], message_ids: Sequence[str]) -> tuple[Summary, ...]:
    """Summaries that cover these messages, oldest first, no message in two of them.

    A summary of summaries is preferred to those it sums up, but only if all its sources are among the
    messages. So a strategy passes the messages that it leaves out: where a summary reaches into the
    window, lower levels that do not are used instead.

    Args:
        summaries: valid on the branch, as `Summaries.on_branch` returns them.
        message_ids: a part of the branch, oldest first.
    """
    positions = {message_id: place for place, message_id in enumerate(message_ids)}
    fitting = [item for item in summaries if all(source in positions for source in item.sources)]
    taken: set[str] = set()
    chosen = []
    # Of equals the newest: it was made because the older ones did not fit this branch.
    for item in sorted(fitting, key=lambda item: (-item.level, -len(item.sources), -item.id)):
        if taken.isdisjoint(item.sources):
            taken.update(item.sources)
            chosen.append(item)
    return tuple(sorted(chosen, key=lambda item: positions[item.sources[0]]))
