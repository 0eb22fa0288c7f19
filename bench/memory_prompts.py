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
from pathlib import Path

from bench.cli import counts
from bench.errors import BenchError
from bench.memory_chats import Settings, measure
from bench.memory_data import load
from bench.memory_report import show
from bench.memory_talk import talk_of
from bench.models import find_model
from engine import EngineError
from memory import STRATEGIES


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
        "--window-every", type=_number, default=1, help="turns of which one of the window's counts"
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
