"""Takes every side through the same long chats, turn by turn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cli import note
from bench.memory_report import Turns, summary
from bench.memory_sides import StrategySide, WindowSide
from bench.memory_store import SharedEmbedder
from bench.memory_talk import Talk
from bench.memory_turns import Asker
from engine import Engine, EngineConfig
from memory import Budget, Embedder

__all__ = ["Settings", "measure"]

_NEWS = 20  # turns
_SUMMARY_TOKENS = 1536  # a chunk of messages, the request around it, and the summary


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured; sizes in tokens.

    Args:
        budget: of a prompt.
        window_every: see `WindowSide`.
        meaning: False searches by keywords only.
    """

    model: Path
    strategies: tuple[str, ...]
    turns: int
    ask_every: int
    budget: int
    reply_tokens: int
    window_every: int
    meaning: bool = True

    @property
    def engine(self) -> EngineConfig:
        """A part of the KV cache for each side, and one for summaries, so that nobody drives another out."""
        sides = len(self.strategies) + 2
        context = max(self.budget + self.reply_tokens + 64, _SUMMARY_TOKENS)
        return EngineConfig(
            model_path=self.model,
            max_sessions=sides,
            context_tokens=sides * context,
            kv_layout="split",
            speculation="off",
        )


async def measure(
    talks: Sequence[Talk], settings: Settings, open_engine: Callable[[EngineConfig], Engine] = Engine
) -> dict[str, Any]:
    """All chats, one after the other, each with an engine of its own."""
    from memory.vectors import WorkerEmbedder

    with ExitStack() as opened:
        embedder = None
        if settings.meaning:
            worker = WorkerEmbedder(threads=2)
            opened.callback(worker.close)
            embedder = SharedEmbedder(worker)
        turns = {talk.name: await _one(talk, settings, embedder, open_engine) for talk in talks}
    told = {"model": settings.model.name, "turns": settings.turns, "ask_every": settings.ask_every}
    sizes = {"budget": settings.budget, "reply_tokens": settings.reply_tokens, "meaning": settings.meaning}
    return told | sizes | summary(turns)


async def _one(
    talk: Talk,
    settings: Settings,
    embedder: Embedder | None,
    open_engine: Callable[[EngineConfig], Engine],
) -> Turns:
    async with open_engine(settings.engine) as engine:
        asker, budget = Asker(engine, settings.reply_tokens), Budget(settings.budget)
        with tempfile.TemporaryDirectory() as folder:
            sides = {
                name: StrategySide(name, talk, budget, asker, Path(folder) / name, embedder)
                for name in settings.strategies
            }
            try:
                for side in sides.values():
                    await side.prepare()
                return await _talk(talk, sides, WindowSide(budget, asker, settings.window_every))
            finally:
                for side in sides.values():
                    await side.close()


async def _talk(talk: Talk, sides: dict[str, StrategySide], window: WindowSide) -> Turns:
    turns: Turns = {name: {} for name in (*sides, window.name)}
    for number, line in enumerate(talk.lines, 1):
        reply = ""
        for name in _in_turns(list(sides), number):
            answer = await sides[name].say(line)
            if answer is None:
                note(f"{talk.name}: {name} stops at turn {number}")
                await sides.pop(name).close()
                continue
            reply, turns[name][number] = answer
        windowed = await window.say(line, number, reply)
        if windowed is not None:
            turns[window.name][number] = windowed
        if number % _NEWS == 0:
            note(f"{talk.name}: {number} of {len(talk.lines)} turns")
    return turns


def _in_turns(names: list[str], number: int) -> list[str]:
    """Another one first each time: what slows the machine slows all."""
    first = number % len(names) if names else 0
    return names[first:] + names[:first]
