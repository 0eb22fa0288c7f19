"""Makes summaries in the background, one at a time, when the engine has nothing better to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from memory.errors import MessageNotFound, SummaryCancelled
from memory.ports import Summarizer, TokenCounter
from memory.storage import Database, Summaries, Transcript
from memory.summaries.check import accepted, excerpt
from memory.summaries.plan import Limits, SummaryTask, plan
from memory.types import Message, Summary

__all__ = ["Consolidator"]

_log = logging.getLogger(__name__)


class Consolidator:
    """Finds the next summary to make, has it made, checks it and keeps it with its sources.

    Called from any thread but the database's: counting and summarising wait for the engine.
    """

    def __init__(
        self,
        database: Database,
        transcript: Transcript,
        summaries: Summaries,
        *,
        limits: Limits | None = None,
    ) -> None:
        self._database = database
        self._transcript = transcript
        self._summaries = summaries
        self._limits = limits if limits is not None else Limits()

    def work(
        self,
        session_id: str,
        *,
        window_starts: Collection[str],
        history_tokens: int,
        counter: TokenCounter,
        head: str | None = None,
    ) -> tuple[SummaryTask, ...]:
        """The summaries that can be made now, the most urgent first.

        Args:
            window_starts: where prompts of this session began, as `WindowStarts.valid_for` gives them.
            history_tokens: the part of the budget that is for the messages themselves.
            head: the end of the branch; the session's head by default.

        Raises:
            SessionNotFound, MessageNotFound: no such session, or no such head in it.
        """
        branch, summaries = self._database.call(self._read, session_id, head)
        return plan(
            branch,
            summaries,
            window_starts=window_starts,
            history_tokens=history_tokens,
            counter=counter,
            limits=self._limits,
        )

    def run(
        self, piece: SummaryTask, summarizer: Summarizer | None, cancelled: Callable[[], bool]
    ) -> Summary | None:
        """Make one summary and keep it.

        Returns None, and keeps nothing, if it was cancelled or if one of its messages was deleted or
        forgotten meanwhile. An answer that is not fit to be kept, and any error of the summariser, lead to an
        excerpt of the person's own words.

        Args:
            summarizer: None where no model can summarise.
        """
        if cancelled():
            return None
        try:
            text = self._text(piece, summarizer, cancelled)
        except SummaryCancelled:
            return None
        try:
            return self._database.call(
                self._summaries.add, piece.session_id, piece.level, text, piece.sources
            )
        except MessageNotFound:
            return None

    def run_next(
        self,
        session_id: str,
        *,
        window_starts: Collection[str],
        history_tokens: int,
        counter: TokenCounter,
        summarizer: Summarizer | None,
        cancelled: Callable[[], bool],
        head: str | None = None,
    ) -> Summary | None:
        """Make the most urgent summary, as `work` and `run` say; None if there is nothing to do, too."""
        pieces = self.work(
            session_id, window_starts=window_starts, history_tokens=history_tokens, counter=counter, head=head
        )
        return self.run(pieces[0], summarizer, cancelled) if pieces else None

    def _read(self, session_id: str, head: str | None) -> tuple[list[Message], tuple[Summary, ...]]:
        branch = self._transcript.branch(session_id, head)
        forgotten = self._summaries.forgotten(session_id)
        spoken = [replace(item, content="") if item.id in forgotten else item for item in branch]
        return spoken, self._summaries.on_branch([item.id for item in branch])

    def _text(self, piece: SummaryTask, summarizer: Summarizer | None, cancelled: Callable[[], bool]) -> str:
        answer = None
        if summarizer is not None:
            try:
                reply = summarizer.summarise(piece.texts, max_tokens=piece.max_tokens, cancelled=cancelled)
                answer = accepted(reply, piece.texts)
            except SummaryCancelled:
                raise
            except Exception as exc:
                # Its words may quote the chat, which has no place in a log.
                _log.warning("A summary could not be made: %s.", type(exc).__name__)
        return answer if answer is not None else excerpt(piece.user_texts, piece.texts, piece.max_tokens)
