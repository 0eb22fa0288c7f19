"""Two ways through a long chat: a context strategy with a memory of its own, and a sliding window."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench.memory.locomo import Line, Question, Talk
from bench.memory.store import record, wait_for_index
from engine import ChatMessage, Engine, GenerationRequest, SamplingParams, Timings, TokenStream
from memory import STRATEGIES, Budget, BudgetTooSmall, ContextReport, Embedder, Memory, Turn
from stevemin_chat.recall import EngineCounter, EngineSummarizer

__all__ = [
    "Asker",
    "Evidence",
    "StrategySide",
    "Turned",
    "WindowSide",
    "system_prompt",
]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where the turns that answer a question are, as shares of all of them.

    Args:
        verbatim: in the prompt as messages; quoted: as memories.
        summarised: neither, but among the sources of a summary in the prompt.
    """

    verbatim: float
    quoted: float = 0.0
    summarised: float = 0.0


@dataclass(frozen=True, slots=True)
class Turned:
    """The cost of one turn.

    Args:
        memories: tokens of the memories layer.
        build_s: seconds to assemble the prompt.
        background: tokens computed for summaries after the turn, prompts and answers.
        evidence: None if the turn asked nothing.
    """

    timings: Timings
    memories: int = 0
    build_s: float = 0.0
    background: int = 0
    evidence: Evidence | None = None

    @property
    def prefilled(self) -> int:
        """Prompt tokens that were not in the KV cache."""
        return self.timings.prompt_tokens - self.timings.cached_tokens


class Asker:
    """Asks an engine, and counts the tokens that summaries take.

    Args:
        reply_tokens: the exact length of every answer.
    """

    def __init__(self, engine: Engine, reply_tokens: int) -> None:
        self.engine = engine
        self._sampling = SamplingParams(temperature=0.0, max_tokens=reply_tokens, ignore_eos=True)
        self._summaries: list[TokenStream] = []

    @property
    def load(self) -> float:
        """Always 0: nothing else uses the engine."""
        return 0.0

    async def ask(self, messages: Sequence[Turn], session: str) -> tuple[str, Timings]:
        """The answer to a prompt."""
        turns = [ChatMessage(turn.role, turn.content) for turn in messages]
        request = GenerationRequest(messages=turns, sampling=self._sampling, session_id=session)
        stream = self.engine.submit(request)
        text = "".join([chunk.text async for chunk in stream])
        return text, stream.timings

    def submit(self, request: GenerationRequest) -> TokenStream:
        """Submit a summariser's request."""
        self._summaries.append(stream := self.engine.submit(request))
        return stream

    def spent(self) -> int:
        """Tokens computed for summaries since the last call."""
        timings = [stream.timings for stream in self._summaries]
        self._summaries.clear()
        return sum(item.prompt_tokens - item.cached_tokens + item.completion_tokens for item in timings)


def system_prompt(side: str) -> str:
    """A different first word for each side, since the engine shares common prefixes."""
    return f"{side.capitalize()}: you are a helpful assistant."


class StrategySide:
    """A context strategy with a memory that holds the past sessions and the chat.

    Args:
        folder: for the memory's files.
        embedder: None searches by keywords only; a strategy that does not search makes no vectors.
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
        """Store the past sessions and open the chat."""
        self._name_of = await asyncio.to_thread(record, self._memory, self._past)
        session = await asyncio.to_thread(self._memory.create_session, "live", strategy=self._name)
        self._session = session.id
        await asyncio.to_thread(
            self._memory.set_session, self._session, system_prompt=system_prompt(self._name)
        )
        await self._index()

    async def say(self, line: Line) -> tuple[str, Turned] | None:
        """One turn and its answer; None once the strategy refuses the budget."""
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
        """Close the memory's files."""
        await asyncio.to_thread(self._memory.close)

    async def _index(self) -> None:
        """Wait for the vectors of the new messages, as if the person were reading."""
        if self._meaning:
            await asyncio.to_thread(wait_for_index, self._memory)

    async def _consolidate(self) -> None:
        """Make every summary that is due, as if the person were reading."""
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
    """The newest messages that fit, chosen anew at every turn, as most chat applications do.

    It prefills nearly its whole prompt each time, so it can be sampled: it then answers two turns in a row,
    of which the second counts, since the KV cache must hold the turn before.

    Args:
        every: turns per measured turn; 1 measures all. A number coprime to the distance between questions
            samples turns of all kinds.
    """

    name = "window"

    def __init__(self, budget: Budget, asker: Asker, every: int) -> None:
        self._budget = budget
        self._asker = asker
        self._every = every
        self._said: list[tuple[str | None, Turn]] = []

    async def say(self, line: Line, number: int, reply: str) -> Turned | None:
        """Turn `number`, from 1; None where it is not measured.

        Args:
            reply: another side's answer, which stands in where this side is not asked.
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
        """The index of the first message of the longest window that fits."""
        counter = EngineCounter(self._asker.engine)
        first, last = 0, len(self._said) - 1
        while first < last:  # bisect: a prompt grows with every message
            middle = (first + last) // 2
            fits = counter.count_prompt(self._prompt(middle)) <= self._budget.tokens
            first, last = (first, middle) if fits else (middle + 1, last)
        return first

    def _prompt(self, first: int) -> list[Turn]:
        return [Turn("system", system_prompt(self.name)), *(turn for _, turn in self._said[first:])]
