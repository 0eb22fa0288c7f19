"""Makes summaries in the background, one at a time, while the engine is idle."""

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
    """Finds the next summary to make, has it written, checks it and stores it with its sources.

    Call from any thread but the database's: counting and summarising wait for the engine.
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
            window_starts: where prompts of this session started, from `WindowStarts.valid_for`.
            history_tokens: the part of the budget that is for the messages themselves.
            head: the last message of the branch; the session's head by default.

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
        self, task: SummaryTask, summarizer: Summarizer | None, cancelled: Callable[[], bool]
    ) -> Summary | None:
        """Make one summary and store it.

        The user's own words fill the room that the summariser leaves; if it fails, or its answer is rejected,
        they are all.

        Args:
            summarizer: None if no model can summarise.

        Returns:
            None, with nothing stored, if it was cancelled or a source was deleted or forgotten meanwhile.
        """
        if cancelled():
            return None
        try:
            text = self._text(task, summarizer, cancelled)
        except SummaryCancelled:
            return None
        try:
            return self._database.call(self._summaries.add, task.session_id, task.level, text, task.sources)
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
        """Make the most urgent summary; see `work` and `run`. None also if there is nothing to do."""
        tasks = self.work(
            session_id, window_starts=window_starts, history_tokens=history_tokens, counter=counter, head=head
        )
        return self.run(tasks[0], summarizer, cancelled) if tasks else None

    def _read(self, session_id: str, head: str | None) -> tuple[list[Message], tuple[Summary, ...]]:
        branch = self._transcript.branch(session_id, head)
        forgotten = self._summaries.forgotten(session_id)
        spoken = [replace(item, content="") if item.id in forgotten else item for item in branch]
        return spoken, self._summaries.on_branch([item.id for item in branch])

    def _text(self, task: SummaryTask, summarizer: Summarizer | None, cancelled: Callable[[], bool]) -> str:
        answer = ""
        if summarizer is not None:
            try:
                reply = summarizer.summarise(task.texts, max_tokens=task.max_tokens, cancelled=cancelled)
                answer = accepted(reply, task.texts) or ""
            except SummaryCancelled:
                raise
            except Exception as exc:
                # The message may quote the chat, which must not reach a log.
                _log.warning("A summary could not be made: %s.", type(exc).__name__)
        return excerpt(task.user_texts, task.texts, task.max_tokens, after=answer)
