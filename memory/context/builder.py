"""From a session to the prompt for its next reply, and to the summaries that its prompts need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from memory.context.base import ContextInput, Strategy
from memory.context.counting import CachedCounter
from memory.context.strategies import find_strategy
from memory.errors import CounterMissing
from memory.ports import Summarizer
from memory.reports import AssembledContext, Budget
from memory.search import Recalled, Search
from memory.storage import Database, Facts, Scopes, Sessions, Summaries, Transcript, WindowStarts
from memory.summaries import Consolidator
from memory.types import Message, SessionRecord, Summary

__all__ = ["ContextBuilder"]

_MAX_RECALLS = 50  # offered to a strategy


class ContextBuilder:
    """Reads what a strategy may see, lets it choose, and remembers where the prompt starts. Any thread.

    Attributes:
        counter: of the loaded model; None while no model is loaded.
    """

    def __init__(
        self,
        database: Database,
        *,
        sessions: Sessions,
        transcript: Transcript,
        window_starts: WindowStarts,
        facts: Facts,
        scopes: Scopes,
        summaries: Summaries,
        search: Search,
        consolidator: Consolidator,
    ) -> None:
        self.counter: CachedCounter | None = None
        self._call = database.call
        self._sessions = sessions
        self._transcript = transcript
        self._window_starts = window_starts
        self._facts = facts
        self._scopes = scopes
        self._summaries = summaries
        self._search = search
        self._consolidator = consolidator

    def build(
        self,
        session_id: str,
        *,
        query: str | None,
        budget: Budget,
        strategy: str,
        head: str | None,
        system_prompt: str | None,
        load: float,
        remembering: bool,
    ) -> AssembledContext:
        """See `Memory.build_context`.

        Args:
            remembering: whether the prompt may draw on long-term memory.
        """
        chosen = find_strategy(strategy)
        counter = self._required_counter()
        record, messages, starts = self._call(self._read, session_id, head, strategy, budget)
        asked = query or next((item.content for item in reversed(messages) if item.role == "user"), "")
        given = ContextInput(
            messages=tuple(messages),
            budget=budget,
            counter=counter,
            system_prompt=record.system_prompt if record.system_prompt is not None else system_prompt,
            window_starts=frozenset(starts),
            start_summaries=starts,
            query=asked,
            summaries=self._summaries_of(messages) if chosen.summarises else (),
            load=load,
        )
        if remembering:
            given = self._with_memories(given, chosen, record.id)
        # Counting waits for the engine: on this thread, so that it does not hold up other sessions' writes.
        assembly = chosen.assemble(given)
        if assembly.window_start is not None:
            self._call(
                self._window_starts.remember,
                session_id,
                strategy,
                assembly.window_start,
                budget.tokens,
                assembly.start_summary,
            )
        return assembly.context

    def consolidate(
        self,
        session_id: str,
        *,
        strategy: str,
        budget: Budget,
        summarizer: Summarizer | None,
        cancelled: Callable[[], bool],
    ) -> Summary | None:
        """See `Memory.consolidate`."""
        chosen = find_strategy(strategy)
        counter = self._required_counter()
        if not chosen.summarises or self._call(self._sessions.get, session_id).off_record:
            return None
        return self._consolidator.run_next(
            session_id,
            window_starts=self._call(self._window_starts.valid_for, session_id, strategy, budget.tokens),
            history_tokens=int(budget.tokens * chosen.history_share),
            counter=counter,
            summarizer=summarizer,
            cancelled=cancelled,
        )

    def _required_counter(self) -> CachedCounter:
        if self.counter is None:
            raise CounterMissing
        return self.counter

    def _read(
        self, session_id: str, head: str | None, strategy: str, budget: Budget
    ) -> tuple[SessionRecord, list[Message], dict[str, int]]:
        record = self._sessions.get(session_id)
        messages = self._transcript.branch(session_id, head or record.head_id)
        return record, messages, self._window_starts.valid_for(session_id, strategy, budget.tokens)

    def _with_memories(self, given: ContextInput, chosen: Strategy, session_id: str) -> ContextInput:
        if not (chosen.searches or chosen.summarises):
            return given
        found = self._recalls(given, session_id) if chosen.searches else Recalled(most=None)
        facts = self._call(lambda: self._facts.list(self._scopes.visible_to(session_id)))
        return replace(
            given,
            recalls=tuple(found.worth_quoting().recalls(given.counter, _MAX_RECALLS)),
            most_recalls=found.most,
            reordered=found.reordered,
            profile=tuple(fact for fact in facts if fact.until is None),
        )

    def _recalls(self, given: ContextInput, session_id: str) -> Recalled:
        """What the past contributes to a question.

        Messages since the last eviction are sent anyway. What hangs on the question or on another version of
        it was rejected: an answer that is written again must not follow the one before.
        """
        places = (place for place, message in enumerate(given.messages) if message.id in given.window_starts)
        known = [message.id for message in given.messages[max(places, default=0) :]]
        asked = next((message.id for message in reversed(given.messages) if message.role == "user"), None)
        if asked is not None:
            known += self._call(self._transcript.versions_of, asked)
        return self._search.recall(given.query or "", session_id, known=known)

    def _summaries_of(self, messages: Sequence[Message]) -> tuple[Summary, ...]:
        return self._call(self._summaries.on_branch, [message.id for message in messages])
