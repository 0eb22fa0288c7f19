"""Facts in labelled messages: what the rules find, and what a model finds whose answers are checked.

200 messages, which the package carries (`memory/ingest/facts_labelled.jsonl`), half of which state nothing.
`precision`: of the statements that would be stored, those that hold at least half of a labelled one.
`recall`: of the labelled statements, those that were found. `unseen`: the half written after the rules.

`stevemin memory check` measures the same and decides by it whether a model may look for facts.

    python bench/memory/facts.py --model starter --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.cli import BenchError, find_model
from engine import Engine, EngineConfig, EngineError
from memory.ingest.facts import Statement
from memory.ingest.facts_check import found_by_model, found_by_rules, graded
from memory.ports import FactExtractor
from stevemin_chat.recall import EngineExtractor

Result = dict[str, Any]


def report(found: Sequence[Sequence[Statement]]) -> Result:
    """Grade what was found in each message: in all, and in those written after the rules."""
    keep = ("messages", "kept", "right", "precision", "found", "labelled", "recall", "passed", "by_kind")
    every, unseen = graded(found).to_json(), graded(found, half=2).to_json()
    return {name: every[name] for name in keep} | {"unseen": {name: unseen[name] for name in keep[:-2]}}


def measured(extractor: FactExtractor) -> Result:
    """What a model finds, and how long it takes."""
    begun = perf_counter()
    found = found_by_model(extractor, lambda done: None, lambda: False)
    return report(found) | {"seconds": round(perf_counter() - begun, 1)}


async def _by_model(path: Path) -> Result:
    engine = Engine(EngineConfig(model_path=path, context_tokens=4096, max_sessions=1))
    async with engine:
        extractor = EngineExtractor(engine, asyncio.get_running_loop(), path)
        return {"file": path.name, "fingerprint": extractor.model} | await asyncio.to_thread(
            measured, extractor
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="starter", help="a .gguf, starter or gemma (default: starter)")
    parser.add_argument("--rules-only", action="store_true", help="ask no model")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parser.parse_args()
    try:
        result = {"rules": report(found_by_rules())}
        if not args.rules_only:
            result["model"] = asyncio.run(_by_model(find_model(args.model)))
    except (BenchError, EngineError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        for source, values in result.items():
            print(source, "\n".join(f"  {name:12} {value}" for name, value in values.items()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
