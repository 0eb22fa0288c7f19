"""From a session to the prompt for its next reply, and to the summaries that its prompts need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from memory.components import Parts
from memory.context.counting import CachedCounter
from memory.context.strategies import ContextInput, Strategy, find_strategy
from memory.errors import CounterMissing
from memory.ports import Summarizer, TokenCounter
from memory.search.rank import Ranked
from memory.types import AssembledContext, Budget, Message, Recall, SessionRecord, Summary

__all__ = ["ContextBuilder", "as_recall"]

_RECALLED = 50  # the most that a strategy has to choose from


class ContextBuilder:
    """Reads what a strategy may look at, lets it choose, and keeps where the prompt began. Any thread.

    Attributes:
        counter: of the loaded model; None while there is none.
    """

    def __init__(self, parts: Parts) -> None:
        self.counter: CachedCounter | None = None
        self._parts = parts
        self._call = parts.database.call

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
        counter = self._counter()
        record, messages, cuts = self._call(self._read, session_id, head, strategy, budget)
        asked = query or next((item.content for item in reversed(messages) if item.role == "user"), "")
        given = ContextInput(
            messages=tuple(messages),
            budget=budget,
            counter=counter,
            system_prompt=record.system_prompt if record.system_prompt is not None else system_prompt,
            cuts=frozenset(cuts),
            cut_summaries=cuts,
            query=asked,
            summaries=self._summaries_of(messages) if chosen.summarises else (),
            load=load,
        )
        if remembering:
            given = self._with_memories(given, chosen, record.id)
        # Counting waits for the engine: on this thread, so that no other session's write has to wait.
        assembly = chosen.assemble(given)
        if assembly.cut is not None:
            remember = self._parts.cuts.remember
            self._call(remember, session_id, strategy, assembly.cut, budget.tokens, assembly.cut_summary)
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
        counter = self._counter()
        if not chosen.summarises:
            return None
        cuts = self._call(self._parts.cuts.made_for, session_id, strategy, budget.tokens)
        return self._parts.consolidator.run_next(
            session_id,
            cuts=cuts,
            history_tokens=int(budget.tokens * chosen.history_share),
            counter=counter,
            summarizer=summarizer,
            cancelled=cancelled,
        )

    def _counter(self) -> CachedCounter:
        if self.counter is None:
            raise CounterMissing
        return self.counter

    def _read(
        self, session_id: str, head: str | None, strategy: str, budget: Budget
    ) -> tuple[SessionRecord, list[Message], dict[str, int]]:
        record = self._parts.sessions.get(session_id)
        messages = self._parts.transcript.branch(session_id, head or record.head_id)
        return record, messages, self._parts.cuts.made_for(session_id, strategy, budget.tokens)

    def _with_memories(self, given: ContextInput, chosen: Strategy, session_id: str) -> ContextInput:
        recalls: tuple[Recall, ...] = ()
        if chosen.searches:
            self._parts.vectors.start()
            recalls = self._recalls(given, session_id)
        if not (chosen.searches or chosen.summarises):
            return given
        profile = self._call(lambda: self._parts.facts.list(self._parts.scopes.visible_to(session_id)))
        return replace(given, recalls=recalls, profile=profile)

    def _recalls(self, given: ContextInput, session_id: str) -> tuple[Recall, ...]:
        """What the past has to say to a question, but for what is in the prompt since the last eviction."""
        cut = max(
            (place for place, message in enumerate(given.messages) if message.id in given.cuts), default=0
        )
        known = [message.id for message in given.messages[cut:]]
        found = self._parts.search.recall(given.query or "", session_id, known=known)
        return tuple(as_recall(item, given.counter) for item in found[:_RECALLED])

    def _summaries_of(self, messages: Sequence[Message]) -> tuple[Summary, ...]:
        return self._call(self._parts.summaries.on_branch, [message.id for message in messages])


def as_recall(ranked: Ranked, counter: TokenCounter | None) -> Recall:
    """A search's finding as the memory tells of it; without a counter it has no tokens."""
    passage = ranked.passage
    return Recall(
        message_id=passage.message_id,
        score=ranked.score,
        tokens=counter.count_text(passage.text) if counter is not None else 0,
        session_id=passage.session_id,
        role=passage.role,
        part=passage.id,
        at=passage.at,
        text=passage.text,
        signals=ranked.signals,
    )
