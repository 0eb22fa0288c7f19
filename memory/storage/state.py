"""State beside the messages: settings, scopes, and where each prompt's window starts.

Every method runs on the database's thread.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from memory.reports import FactsCheck
from memory.storage.database import Database

__all__ = ["Scopes", "SearchState", "SearchStates", "Settings", "WindowStarts"]

_REMEMBERING = "remembering"
_PURGE = "purge"
_STORE = "store"
_ERASURE = "erasure"
_INDEX_EPOCH = "index_epoch"
_EMBEDDER = "embedder"
_RECIPE = "embedder_recipe"
_NEXT_EMBEDDER = "next_embedder"
_FACTS_CHECK = "facts_check:"
_SEARCHES = "searches"


class Settings:
    """Settings that survive the process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def remembering(self) -> bool:
        """Whether new messages enter long-term memory and prompts draw on it."""
        return self._get(_REMEMBERING) != "off"

    @remembering.setter
    def remembering(self, on: bool) -> None:
        self._set(_REMEMBERING, None if on else "off")

    @property
    def erasure_due(self) -> bool:
        """Whether the write-ahead log may still hold text that was deleted."""
        return self._get(_ERASURE) is not None

    @erasure_due.setter
    def erasure_due(self, due: bool) -> None:
        self._set(_ERASURE, "due" if due else None)

    @property
    def store(self) -> str:
        """What tells this store from every other; a copy of the file has the same until it is restored."""
        return self._get(_STORE) or ""

    @property
    def index_epoch(self) -> str:
        """Changes with every transaction that deletes a vector: an index of another epoch may hold what was
        forgotten."""
        return self._get(_INDEX_EPOCH) or ""

    @property
    def embedder(self) -> tuple[str, str] | None:
        """Name and recipe of the embedder whose vectors answer searches; None while there is none."""
        name = self._get(_EMBEDDER)
        return None if name is None else (name, self._get(_RECIPE) or "")

    @embedder.setter
    def embedder(self, chosen: tuple[str, str]) -> None:
        self._set(_EMBEDDER, chosen[0])
        self._set(_RECIPE, chosen[1] or None)

    @property
    def next_embedder(self) -> str | None:
        """The name of the embedder that will answer as soon as all passages have its vector."""
        return self._get(_NEXT_EMBEDDER)

    @next_embedder.setter
    def next_embedder(self, name: str | None) -> None:
        self._set(_NEXT_EMBEDDER, name)

    @property
    def purge_due(self) -> str | None:
        """The latest request to purge the keyword index of deleted words; None: there are none in it."""
        return self._get(_PURGE)

    def request_purge(self) -> None:
        """Record that words were deleted."""
        self._set(_PURGE, uuid.uuid4().hex)

    def end_purge(self, request: str) -> None:
        """Record that a purge is done; a later request stays."""
        if self.purge_due == request:
            self._set(_PURGE, None)

    def facts_check(self, model: str) -> FactsCheck | None:
        """What checking whether a model may look for facts found last; None if it has not been checked."""
        found = self._get(_FACTS_CHECK + model)
        if found is None:
            return None
        values = json.loads(found)
        kinds = {kind: (int(found), int(all_)) for kind, (found, all_) in values["by_kind"].items()}
        return FactsCheck(**(values | {"by_kind": kinds}))

    def set_facts_check(self, check: FactsCheck) -> None:
        """Remember the check of a model."""
        self._set(_FACTS_CHECK + check.model, json.dumps(asdict(check)))

    @property
    def searches(self) -> dict[str, int]:
        """How many searches there were, by kind, in processes that have ended."""
        return dict(json.loads(self._get(_SEARCHES) or "{}"))

    def add_searches(self, counts: Mapping[str, int]) -> None:
        """Add a process's searches."""
        with self._database.atomic():
            before = self.searches
            total = {kind: before.get(kind, 0) + number for kind, number in counts.items()}
            self._set(_SEARCHES, json.dumps(total))

    def _get(self, name: str) -> str | None:
        row = self._database.query_one("SELECT value FROM settings WHERE name = ?", (name,))
        return None if row is None else str(row["value"])

    def _set(self, name: str, value: str | None) -> None:
        if value is None:
            self._database.execute("DELETE FROM settings WHERE name = ?", (name,))
        else:
            self._database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))


_UNEMBEDDED = 500  # passages; more of them means that the vectors are being made
_ADDED = 1_000
_STATE = """
    SELECT coalesce((SELECT max(id) FROM passages), 0) AS newest, (SELECT count(*) FROM passages) AS passages,
        NOT EXISTS (SELECT 1 FROM passages WHERE analysed = 0) AS analysed,
        coalesce((SELECT value FROM settings WHERE name = 'index_epoch'), '') AS epoch,
        EXISTS (SELECT 1 FROM settings WHERE name = 'next_embedder') AS switching
"""


@dataclass(frozen=True, slots=True)
class SearchState:
    """What decides which passages a search finds. The text of a passage never changes.

    Args:
        newest: the highest id of a passage; an id is never used twice.
        passages: how many there are.
        analysed: whether all are in the keyword index.
        epoch: see `Settings.index_epoch`.
        unembedded: those without a vector; None if they are too many to list, or another embedder is taking
            over.
    """

    newest: int
    passages: int
    analysed: bool
    epoch: str
    unembedded: tuple[int, ...] | None


class SearchStates:
    """Tells what has changed for searches since an earlier one, in this process or another."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> SearchState:
        """The state now."""
        row = self._database.query_one(_STATE)
        assert row is not None
        rows = self._database.query(
            "SELECT id FROM passages WHERE embedder IS NULL ORDER BY id LIMIT ?", (_UNEMBEDDED + 1,)
        )
        many = len(rows) > _UNEMBEDDED or row["switching"]
        return SearchState(
            newest=row["newest"],
            passages=row["passages"],
            analysed=bool(row["analysed"]),
            epoch=row["epoch"],
            unembedded=None if many else tuple(each["id"] for each in rows),
        )

    def added(self, before: SearchState, now: SearchState) -> list[int] | None:
        """The passages added in between; None if something was deleted or more than a thousand were added.

        Both states must be of this transaction or of earlier ones.
        """
        if before.epoch != now.epoch:
            return None
        if before.newest == now.newest:
            return [] if before.passages == now.passages else None
        rows = self._database.query(
            "SELECT id FROM passages WHERE id > ? AND id <= ? LIMIT ?",
            (before.newest, now.newest, _ADDED + 1),
        )
        nothing_is_gone = before.passages + len(rows) == now.passages
        return [row["id"] for row in rows] if nothing_is_gone and len(rows) <= _ADDED else None


# Two sessions see each other if the scope of each includes the other.
_VISIBLE = """
    SELECT other.id FROM sessions AS other JOIN sessions AS mine ON mine.id = ?
    WHERE other.id = mine.id
        OR (other.scope = 'everywhere' AND mine.scope = 'everywhere')
        OR (other.scope <> 'session' AND mine.scope <> 'session' AND other.project = mine.project)
"""

_VISIBLE_ROOTS = """
    SELECT root.id FROM document_roots AS root JOIN sessions AS mine ON mine.id = ?
    WHERE (root.project IS NULL AND mine.scope = 'everywhere')
        OR (mine.scope <> 'session' AND root.project = mine.project)
"""


class Scopes:
    """Which sessions may see each other's memories, and which documents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def visible_to(self, session_id: str | None) -> frozenset[str] | None:
        """The sessions that this one may see, itself included; None: all, which is the usual case.

        Args:
            session_id: None stands for the user, who sees everything.
        """
        if session_id is None or not self._any_limited():
            return None
        return frozenset(row["id"] for row in self._database.query(_VISIBLE, (session_id,)))

    def hidden_chats(self, visible: Collection[str]) -> list[int]:
        """The numbers of all sessions but these."""
        rows = self._database.query(
            "SELECT number FROM sessions WHERE id NOT IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(visible)),),
        )
        return [row["number"] for row in rows]

    def documents_visible_to(self, session_id: str | None) -> frozenset[int] | None:
        """The roots whose documents a session may see; None: all.

        A root without a project is like a chat that all others may see, one with a project like a chat that
        those of its project may see.
        """
        if session_id is None or not (self._any_limited() or self._any_root_limited()):
            return None
        return frozenset(row["id"] for row in self._database.query(_VISIBLE_ROOTS, (session_id,)))

    @property
    def any_documents(self) -> bool:
        """Whether there are documents at all."""
        return bool(self._database.query("SELECT 1 FROM document_roots LIMIT 1"))

    def _any_root_limited(self) -> bool:
        return bool(self._database.query("SELECT 1 FROM document_roots WHERE project IS NOT NULL LIMIT 1"))

    def _any_limited(self) -> bool:
        return bool(self._database.query("SELECT 1 FROM sessions WHERE scope <> 'everywhere' LIMIT 1"))


class WindowStarts:
    """Remembers, per session and strategy, the first message that prompts sent since the last eviction.

    A start that stays where it is lets the prompt grow at its end only, so that the model's KV cache
    survives from turn to turn. It names a message, so each branch finds its own.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def valid_for(self, session_id: str, strategy: str, budget_tokens: int) -> dict[str, int]:
        """The window starts that are valid for this budget; a larger budget than theirs starts afresh.

        Returns:
            By message id, the newest summary that existed when the window start was recorded.
        """
        rows = self._database.query(
            "SELECT message_id, summary_id FROM context_cuts"
            " WHERE session_id = ? AND strategy = ? AND budget_tokens >= ?",
            (session_id, strategy, budget_tokens),
        )
        return {row["message_id"]: row["summary_id"] for row in rows}

    def remember(
        self, session_id: str, strategy: str, message_id: str, budget_tokens: int, summary_id: int = 0
    ) -> None:
        """Record a window start; does nothing if the session was deleted meanwhile."""
        self._database.execute(
            "INSERT INTO context_cuts (session_id, strategy, message_id, budget_tokens, summary_id)"
            " SELECT session_id, ?, id, ?, ? FROM messages WHERE id = ? AND session_id = ?"
            " ON CONFLICT DO UPDATE SET budget_tokens = excluded.budget_tokens,"
            " summary_id = excluded.summary_id",
            (strategy, budget_tokens, summary_id, message_id, session_id),
        )
