"""Takes every side through the same long chats, turn by turn, and sums up what each cost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench.cli import note
from bench.memory.locomo import Talk
from bench.memory.sides import Asker, StrategySide, Turned, WindowSide
from bench.memory.store import SharedEmbedder
from bench.rounds import percent, percentile
from engine import Engine, EngineConfig
from memory import Budget, Embedder

__all__ = ["Settings", "Turns", "measure", "show", "summary"]

Turns = dict[str, dict[int, Turned]]  # one chat's turns, by side and turn number
_OURS, _PEER, _YARDSTICK = "hierarchical", "window", "sliding"
_COLUMNS = {
    "turns": "turns",
    "prompt": "prompt_tokens",
    "prefilled": "prefilled_tokens",
    "background": "background_tokens",
    "TTFT ms": "ttft_ms_p50",
    "p95": "ttft_ms_p95",
    "to sliding": "ttft_to_sliding",
    "verbatim %": "evidence.verbatim",
    "quoted %": "evidence.quoted",
    "summary %": "evidence.summarised",
}

_NEWS = 20  # turns
_SUMMARY_TOKENS = 1536  # a chunk of messages, the request around it, and the summary


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure; sizes in tokens.

    Args:
        budget: the size limit of a prompt.
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
        """A share of the KV cache for each side and one for summaries, so that no side evicts another."""
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
    """Measure all chats in turn, each with an engine of its own."""
    from memory.vectors import WorkerEmbedder

    with ExitStack() as opened:
        embedder = None
        if settings.meaning:
            worker = WorkerEmbedder(threads=2)
            opened.callback(worker.close)
            embedder = SharedEmbedder(worker)
        turns = {talk.name: await _one(talk, settings, embedder, open_engine) for talk in talks}
    about = {"model": settings.model.name, "turns": settings.turns, "ask_every": settings.ask_every}
    sizes = {"budget": settings.budget, "reply_tokens": settings.reply_tokens, "meaning": settings.meaning}
    return about | sizes | summary(turns)


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
    """Start with a different side each time: load on the machine affects all equally."""
    first = number % len(names) if names else 0
    return names[first:] + names[:first]


def summary(chats: Mapping[str, Turns]) -> dict[str, Any]:
    """Means of every side over all chats, and the ratio for each chat."""
    names = dict.fromkeys(name for turns in chats.values() for name, own in turns.items() if own)
    ratios = {chat: ratio for chat, turns in chats.items() if (ratio := _ratio([turns])) is not None}
    return {
        "conversations": len(chats),
        "ratio": _ratio(chats.values()),
        "ratio_by_conversation": ratios,
        "sides": {name: _side(name, chats.values()) for name in names},
    }


def _ratio(chats: Iterable[Turns]) -> float | None:
    """Our prefilled tokens per turn over the window's."""
    chats = list(chats)
    ours, peer = _all(_OURS, chats), _all(_PEER, chats)
    return round(_mean(ours, _prefilled) / _mean(peer, _prefilled), 3) if ours and peer else None


def _side(name: str, chats: Iterable[Turns]) -> dict[str, Any]:
    chats = list(chats)
    turns = _all(name, chats)
    ttft = [1e3 * item.timings.ttft_s for item in turns]
    with_memories = [item for item in turns if item.memories]
    return {
        "turns": len(turns),
        "prompt_tokens": _mean(turns, lambda item: item.timings.prompt_tokens),
        "prefilled_tokens": _mean(turns, _prefilled),
        "prefilled_when_asked": _mean([item for item in turns if item.evidence], _prefilled),
        "with_memories": round(len(with_memories) / len(turns), 3),
        "memory_tokens": _mean(with_memories, lambda item: item.memories),
        "background_tokens": _mean(turns, lambda item: item.background),
        "ttft_ms_p50": round(median(ttft), 1),
        "ttft_ms_p95": round(percentile(ttft, 95), 1),
        "ttft_to_sliding": _to_yardstick(name, chats),
        "build_ms_p95": round(percentile([1e3 * item.build_s for item in turns], 95), 1),
        "evidence": _evidence(turns),
    }


def _all(name: str, chats: Iterable[Turns]) -> list[Turned]:
    return [item for turns in chats for item in turns.get(name, {}).values()]


def _prefilled(item: Turned) -> int:
    return item.prefilled


def _mean(turns: Sequence[Turned], value: Callable[[Turned], float]) -> float:
    return round(mean(map(value, turns)), 1) if turns else 0.0


def _to_yardstick(name: str, chats: Iterable[Turns]) -> float | None:
    pairs = [
        (item.timings.ttft_s, turns[_YARDSTICK][number].timings.ttft_s)
        for turns in chats
        for number, item in turns.get(name, {}).items()
        if number in turns.get(_YARDSTICK, {})
    ]
    return round(median(ours / theirs for ours, theirs in pairs), 3) if pairs else None


def _evidence(turns: Iterable[Turned]) -> dict[str, float] | None:
    found = [item.evidence for item in turns if item.evidence is not None]
    if not found:
        return None
    return {
        "questions": len(found),
        "verbatim": percent(item.verbatim for item in found),
        "quoted": percent(item.quoted for item in found),
        "summarised": percent(item.summarised for item in found),
    }


def show(result: Mapping[str, Any]) -> Iterator[str]:
    """The result as a table."""
    yield (
        f"{result['conversations']} chats of {result['turns']} turns, prompts of {result['budget']} tokens,"
        f" per turn, {result['model']}:"
    )
    yield f"{'':13}" + "".join(f"{name:>11}" for name in _COLUMNS)
    for name, side in result["sides"].items():
        values = (_cell(side, path) for path in _COLUMNS.values())
        yield f"{name:13}" + "".join(f"{value:>11}" for value in values)
    if result["ratio"] is not None:
        each = ", ".join(f"{chat} {ratio}" for chat, ratio in result["ratio_by_conversation"].items())
        yield f"prefilled, {_OURS} over {_PEER}: {result['ratio']} ({each})"


def _cell(side: Mapping[str, Any], path: str) -> str:
    value: Any = side
    for key in path.split("."):
        value = None if value is None else value[key]
    return "-" if value is None else str(value)
