"""Two ways through a long chat: a context strategy with a memory of its own, and a window that slides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

from bench.memory_data import Question
from bench.memory_store import enter, wait_for_index
from bench.memory_talk import Line, Talk
from bench.memory_turns import Asker, Evidence, Turned, system_prompt
from memory import STRATEGIES, Budget, BudgetTooSmall, ContextReport, Embedder, Memory, Turn
from stevemin_chat.recall import EngineCounter, EngineSummarizer

__all__ = ["StrategySide", "WindowSide"]


class StrategySide:
    """A memory that holds the past, and the chat in it.

    Args:
        folder: for the memory's files.
        embedder: None, or a strategy that does not search: no vectors.
    """

    def __init__(
        self, name: str, talk: Talk, budget: Budget, asker: Asker, folder: Path, embedder: Embedder | None
    ) -> None:
        self._name = name
        self._budget = budget
        self._asker = asker
        self._past = talk.past
        self._meaning = embedder is not None and STRATEGIES[name].searches
        self._memory = Memory(
            folder / "chats.db",
            counter=EngineCounter(asker.engine),
            summarizer=EngineSummarizer(asker, asyncio.get_running_loop()),
            embedder=embedder if self._meaning else None,
        )
        self._session = ""
        self._name_of: dict[str, str] = {}

    async def prepare(self) -> None:
        """Let the past happen, and open the chat."""
        self._name_of = await asyncio.to_thread(enter, self._memory, self._past)
        session = await asyncio.to_thread(self._memory.create_session, "live", strategy=self._name)
        self._session = session.id
        await asyncio.to_thread(
            self._memory.set_session, self._session, system_prompt=system_prompt(self._name)
        )
        await self._index()

    async def say(self, line: Line) -> tuple[str, Turned] | None:
        """One turn and its answer; None once the strategy refuses."""
        add = self._memory.add_message
        message = await asyncio.to_thread(add, self._session, "user", line.text, at=line.at)
        if line.name is not None:
            self._name_of[message.id] = line.name
        start = perf_counter()
        try:
            context = await asyncio.to_thread(
                self._memory.build_context, self._session, budget=self._budget, strategy=self._name
            )
        except BudgetTooSmall:
            return None
        build_s = perf_counter() - start
        text, timings = await self._asker.ask(context.messages, self._name)
        await asyncio.to_thread(add, self._session, "assistant", text, at=line.at)
        await self._index()
        await self._consolidate()
        memories = next(layer.tokens for layer in context.report.layers if layer.name == "memories")
        evidence = self._evidence(line.question, context.report) if line.question is not None else None
        return text, Turned(timings, memories, build_s, self._asker.spent(), evidence)

    async def close(self) -> None:
        """Let go of all files."""
        await asyncio.to_thread(self._memory.close)

    async def _index(self) -> None:
        """The person reads: what was said meanwhile gets its vectors, whatever the machine's load."""
        if self._meaning:
            await asyncio.to_thread(wait_for_index, self._memory)

    async def _consolidate(self) -> None:
        """The person reads: all summaries that can be made are."""
        while await asyncio.to_thread(
            self._memory.consolidate,
            self._session,
            strategy=self._name,
            budget=self._budget,
            cancelled=lambda: False,
        ):
            pass

    def _evidence(self, question: Question, report: ContextReport) -> Evidence:
        verbatim = self._names(report.sent)
        quoted = self._names(recall.message_id for recall in report.recalls) - verbatim
        summarised = self._names(item.message_id for item in report.dropped if item.reason == "summarised")
        return Evidence(question.share(verbatim), question.share(quoted), question.share(summarised - quoted))

    def _names(self, message_ids: Iterable[str]) -> set[str]:
        return {self._name_of[item] for item in message_ids if item in self._name_of}


class WindowSide:
    """The newest messages that fit, chosen anew at every turn, as most chats do it.

    It reads nearly all of its prompt each time, so it may be asked in some turns only: two in a row, of which
    the second counts, since what is left in the KV cache is from the turn before.

    Args:
        every: turns of which one counts; 1 counts all. A number that has nothing in common with how often
            something is asked counts turns of all kinds.
    """

    name = "window"

    def __init__(self, budget: Budget, asker: Asker, every: int) -> None:
        self._budget = budget
        self._asker = asker
        self._every = every
        self._said: list[tuple[str | None, Turn]] = []

    async def say(self, line: Line, number: int, reply: str) -> Turned | None:
        """Turn `number`, from 1; None where it does not count.

        Args:
            reply: what another side answered, in place of an own answer where none is asked for.
        """
        self._said.append((line.name, Turn("user", line.text)))
        place = number % self._every
        turned = None
        if place in (0, self._every - 1):
            first = await asyncio.to_thread(self._first)
            reply, timings = await self._asker.ask(self._prompt(first), self.name)
            names = {name for name, _ in self._said[first:] if name is not None}
            evidence = Evidence(line.question.share(names)) if line.question is not None else None
            turned = Turned(timings, evidence=evidence) if place == 0 else None
        self._said.append((None, Turn("assistant", reply)))
        return turned

    def _first(self) -> int:
        """Where the longest window begins that fits."""
        counter = EngineCounter(self._asker.engine)
        first, last = 0, len(self._said) - 1
        while first < last:  # prompts grow with every message
            middle = (first + last) // 2
            fits = counter.count_prompt(self._prompt(middle)) <= self._budget.tokens
            first, last = (first, middle) if fits else (middle + 1, last)
        return first

    def _prompt(self, first: int) -> list[Turn]:
        return [Turn("system", system_prompt(self.name)), *(turn for _, turn in self._said[first:])]
