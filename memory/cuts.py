"""Where the prompts of a session begin since the last eviction. Runs on the database's thread.

A cut that stays where it is lets the prompt grow at its end only, so that the model's KV cache
survives from turn to turn. It names a message, so each branch finds its own.
"""

from __future__ import annotations

from memory.database import Database

__all__ = ["ContextCuts"]


class ContextCuts:
    """Remembers the first message that was still sent, per session and strategy."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def made_for(self, session_id: str, strategy: str, budget_tokens: int) -> dict[str, int]:
        """The cuts that hold for this budget: a larger one than they were made for starts afresh.

        Returns:
            The newest summary there was when a cut was made, by the cut's message.
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
        """Keep a cut. The session may have been deleted meanwhile; then there is nothing to keep."""
        self._database.execute(
            "INSERT INTO context_cuts (session_id, strategy, message_id, budget_tokens, summary_id)"
            " SELECT session_id, ?, id, ?, ? FROM messages WHERE id = ? AND session_id = ?"
            " ON CONFLICT DO UPDATE SET budget_tokens = excluded.budget_tokens,"
            " summary_id = excluded.summary_id",
            (strategy, budget_tokens, summary_id, message_id, session_id),
        )
