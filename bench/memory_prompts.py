"""What a long chat costs with each context strategy, on the real engine, by its own counters.

The end of every LoCoMo conversation becomes one chat: both speakers' turns, and a question now and then;
what came before it are sessions that are over. Each strategy has a memory of its own (SQLite, FTS5, the real
embedder, the real Chroma) and answers every turn; so does a window of the newest messages that fit the same
budget, which slides with every turn. Between turns the index catches up and summaries are made, as while a
person reads.

- `prompt_tokens` and `prefilled_tokens` are means per turn; prefilled is what was not in the KV cache.
- `ratio` is `prefilled_tokens` of `hierarchical` over the window's.
- `evidence` is the share of the turns that answer a question: in the prompt word for word, quoted, and else
  among the sources of a summary.
- `ttft_to_sliding` is the median, over the turns, of the times to the first token over those of `sliding`
  in the same turn: the machine's load is in both.

    python bench/memory_prompts.py --data locomo.json --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cli import counts, note
from bench.errors import BenchError
from bench.memory_data import load
from bench.memory_report import Turns, show, summary
from bench.memory_sides import StrategySide, WindowSide
from bench.memory_store import SharedEmbedder
from bench.memory_talk import Talk, talk_of
from bench.memory_turns import Asker
from bench.models import find_model
from engine import Engine, EngineConfig, EngineError
from memory import STRATEGIES, Budget, Embedder

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
    from memory.embedder import WorkerEmbedder

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


def _strategies(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - STRATEGIES.keys():
        raise argparse.ArgumentTypeError(f"there is no strategy {', '.join(sorted(unknown))}")
    return names


def _number(text: str) -> int:
    [number] = counts(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a LoCoMo file")
    parser.add_argument("--model", default="starter", help="a .gguf, or: starter, gemma (default: starter)")
    parser.add_argument("--strategies", type=_strategies, default=tuple(STRATEGIES), help="default: all")
    parser.add_argument("--conversations", type=_number, default=100, help="the first so many (default: all)")
    parser.add_argument("--turns", type=_number, default=120, help="of each chat (default: 120)")
    parser.add_argument("--ask-every", type=_number, default=3, help="so many turns a question comes")
    parser.add_argument("--budget", type=_number, default=2048, help="tokens a prompt may take")
    parser.add_argument("--reply-tokens", type=_number, default=24)
    parser.add_argument(
        "--window-every", type=_number, default=5, help="turns of which one of the window's counts"
    )
    parser.add_argument("--keywords-only", action="store_true", help="as before the embedder is ready")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def main() -> int:
    """Measure and print."""
    args = _parser().parse_args()
    try:
        settings = Settings(
            find_model(args.model),
            args.strategies,
            args.turns,
            args.ask_every,
            args.budget,
            args.reply_tokens,
            args.window_every,
            not args.keywords_only,
        )
        conversations = load(args.data)[: args.conversations]
        talks = [talk_of(item, settings.turns, settings.ask_every) for item in conversations]
        result = asyncio.run(measure(talks, settings))
    except (BenchError, EngineError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result, indent=1) if args.json else "\n".join(show(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
