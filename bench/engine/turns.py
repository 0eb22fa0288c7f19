"""Many chats take turns on a context that holds only a few: what does moving them in and out cost?

All chats speak in turn, so each has left the context before it speaks again. The same runs on a context that
holds them all. Every answer must finish and none may be cut short; the result is generated tokens per second,
tight over roomy.

    python bench/engine/turns.py --json
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import median
from time import perf_counter

from bench import cli
from bench.cli import BenchError, Result, Setup
from bench.engine.sides import config, gather, text_of
from bench.ratios import Ratio
from bench.rounds import interleave
from engine import ChatMessage, Engine, EngineStats, FinishReason, GenerationRequest, SamplingParams

_TEMPLATE_TOKENS = 48  # a chat template's system prompt and message frames


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure; sizes in tokens.

    Args:
        chats: number of chats; at_once: how many of them are answered concurrently.
        held: chats that the tight context holds at their full length.
    """

    chats: int
    turns: int
    at_once: int
    held: int
    prompt_tokens: int
    answer_tokens: int

    @property
    def chat_tokens(self) -> int:
        """KV cells of a chat after its last turn."""
        return _TEMPLATE_TOKENS + self.turns * (self.prompt_tokens + self.answer_tokens + 10)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: tokens per second, finish reasons, and the engine's final counters."""

    speed: float
    finished: Counter[FinishReason | None]
    stats: EngineStats

    def __str__(self) -> str:
        return f"{self.speed:.1f} tokens/s"


async def measure(setup: Setup, settings: Settings) -> Result:
    """Run both contexts in turns, each in its own engine."""
    runs = {
        "tight": partial(_once, setup, settings, settings.held),
        "roomy": partial(_once, setup, settings, settings.chats),
    }
    label = f"{settings.chats} chats, {settings.turns} turns:"
    results = await interleave(setup.limits, runs, lambda so_far: [compared(so_far)], label=label)
    cells = {
        "tight_cells": settings.held * settings.chat_tokens,
        "roomy_cells": settings.chats * settings.chat_tokens,
    }
    counts = {"chats": settings.chats, "turns": settings.turns, "held": settings.held}
    return setup.describe() | counts | cells | summary(results)


async def _once(setup: Setup, settings: Settings, held: int, number: int) -> Run:
    ours = config(
        setup,
        max_sessions=settings.at_once,
        cached_sessions=settings.chats,
        context_tokens=held * settings.chat_tokens,
    )
    async with Engine(ours) as engine:
        table = _Table(settings, engine, number)
        begin = perf_counter()
        await gather(table.speak() for _ in range(settings.at_once))
        took = perf_counter() - begin
        await asyncio.sleep(0.3)  # live stats are up to 0.1 s old
        return Run(table.tokens / took, table.finished, engine.stats())


class _Table:
    """The chats, and which one speaks next."""

    def __init__(self, settings: Settings, engine: Engine, number: int) -> None:
        self._settings = settings
        self._engine = engine
        self._number = number
        self._chats: list[list[ChatMessage]] = [[] for _ in range(settings.chats)]
        self._next = iter(product(range(settings.turns), range(settings.chats)))
        self.finished: Counter[FinishReason | None] = Counter()
        self.tokens = 0

    async def speak(self) -> None:
        """Serve one chat after the other until all turns are done."""
        for turn, chat in self._next:
            await self._turn(chat, f"chat {self._number}.{chat}.{turn}")

    async def _turn(self, chat: int, seed: str) -> None:
        messages = self._chats[chat]
        messages.append(
            ChatMessage("user", text_of(self._settings.prompt_tokens, self._engine.count_tokens, seed))
        )
        sampling = SamplingParams(max_tokens=self._settings.answer_tokens, ignore_eos=True)
        request = GenerationRequest(messages=tuple(messages), sampling=sampling, session_id=f"chat-{chat}")
        stream = self._engine.submit(request)
        text = "".join([chunk.text async for chunk in stream])
        messages.append(ChatMessage("assistant", text))
        self.finished[stream.finish_reason] += 1
        self.tokens += stream.timings.completion_tokens


def compared(runs: Mapping[str, Sequence[Run]]) -> Ratio:
    """The speed on the tight context over that on the roomy one."""
    tight, roomy = ([run.speed for run in runs[name]] for name in ("tight", "roomy"))
    return Ratio.between(tight, roomy)


def summary(runs: Mapping[str, Sequence[Run]]) -> Result:
    """Medians of the speeds, their ratio, and the tight context's counters.

    Raises:
        BenchError: the roomy context evicted chats, so it was not roomy.
    """
    if any(run.stats.restored or run.stats.preempted for run in runs["roomy"]):
        raise BenchError("The context that should hold all chats evicted some.")
    typical = sorted(runs["tight"], key=lambda run: run.speed)[len(runs["tight"]) // 2].stats
    ended = sum((run.finished for run in runs["tight"]), Counter[FinishReason | None]())
    return {
        **{f"{name}_tps": round(median(run.speed for run in some), 1) for name, some in runs.items()},
        **compared(runs).entry(),
        "answers": ended.total(),
        "finished": ended[FinishReason.LENGTH],
        "truncated": ended[FinishReason.CONTEXT],
        "parked": typical.parked,
        "restored": typical.restored,
        "preempted": typical.preempted,
        "evicted": typical.evicted,
        "hit_rate": round(typical.prefix_hit_rate or 0.0, 3),
        "roomy_hit_rate": round(median(run.stats.prefix_hit_rate or 0.0 for run in runs["roomy"]), 3),
    }


def show(result: Result) -> Iterator[str]:
    """Format the result as a few lines."""
    r = result
    yield f"{r['chats']} chats, {r['turns']} turns each, on a context that holds {r['held']}:"
    yield f"  {r['tight_tps']} tokens/s, {r['roomy_tps']} with room for all: ratio {Ratio.read(r)}"
    yield f"  {r['finished']} of {r['answers']} answers finished, {r['truncated']} truncated"
    yield "  " + ", ".join(f"{name} {r[name]}" for name in ("parked", "restored", "preempted", "evicted"))
    yield f"  hit rate {r['hit_rate']}, {r['roomy_hit_rate']} with room for all"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    parser.add_argument("--chats", type=int, default=100)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--held", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=60)
    parser.add_argument("--answer-tokens", type=int, default=32)
    args = parser.parse_args()
    settings = Settings(
        args.chats, args.turns, args.at_once, args.held, args.prompt_tokens, args.answer_tokens
    )
    cli.run(args, partial(measure, settings=settings), show)


if __name__ == "__main__":
    main()
