"""What a long chat costs with each context strategy, on the real engine, by its own counters.

The end of every LoCoMo conversation becomes one chat: both speakers' turns, with a question now and then. The
turns before it become sessions that are over. Each strategy has its own memory (SQLite, FTS5, the real
embedder, the real Chroma) and answers every turn; so does a sliding window of the newest messages that fit
the same budget. Between turns the index catches up and summaries are made, as they are while a person reads.

- `prompt_tokens` and `prefilled_tokens` are means per turn; prefilled tokens were not in the KV cache.
- `ratio` is `prefilled_tokens` of `hierarchical` over the window's.
- `evidence` is the share of the turns that answer a question: in the prompt verbatim, quoted, or only among
  the sources of a summary.
- `ttft_to_sliding` is the median over the turns of the time to first token divided by that of `sliding` in
  the same turn, so that load on the machine cancels out.

    python bench/memory/prompts.py --data locomo.json --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from bench.cli import BenchError, count, find_model
from bench.memory.chats import Settings, measure, show
from bench.memory.locomo import load, talk_of
from engine import EngineError
from memory import STRATEGIES


def _strategies(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - STRATEGIES.keys():
        raise argparse.ArgumentTypeError(f"unknown strategy {', '.join(sorted(unknown))}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a LoCoMo file")
    parser.add_argument("--model", default="starter", help="a .gguf, starter or gemma (default: starter)")
    parser.add_argument("--strategies", type=_strategies, default=tuple(STRATEGIES), help="default: all")
    parser.add_argument("--conversations", type=count, default=100, help="only the first N (default: all)")
    parser.add_argument("--turns", type=count, default=120, help="turns per chat (default: 120)")
    parser.add_argument("--ask-every", type=count, default=3, help="turns per question (default: 3)")
    parser.add_argument("--budget", type=count, default=2048, help="prompt limit in tokens (default: 2048)")
    parser.add_argument("--reply-tokens", type=count, default=24)
    parser.add_argument(
        "--window-every", type=count, default=1, help="measure the window every N turns (default: 1)"
    )
    parser.add_argument("--keywords-only", action="store_true", help="search without embeddings")
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
