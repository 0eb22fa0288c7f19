"""What the benchmark scripts share on the command line: options, errors, output and a clean end."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.models import find_model
from engine import EngineConfig, EngineError

__all__ = ["PEERS", "Result", "Setup", "counts", "note", "parser", "run", "setup"]

PEERS = Path(__file__).parent / ".peers" / "bin"

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """What every measurement needs.

    Args:
        model: a GGUF file.
        peers: folder with llama-batched-bench and llama-server.
        rounds: how often each side runs; reported are medians.
        threads: CPU threads of both sides.
        gpu_layers: layers both sides offload; -1 is all.
    """

    model: Path
    peers: Path
    rounds: int
    threads: int
    gpu_layers: int

    def tool(self, name: str) -> Path:
        """A peer's executable.

        Raises:
            BenchError: it was not built.
        """
        path = self.peers / name
        if not path.is_file():
            raise BenchError(f"{path} is not there: run `make peers` first.")
        return path

    def describe(self) -> Result:
        """The head of a script's JSON document."""
        return {"model": self.model.name, "threads": self.threads, "rounds": self.rounds}


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all scripts have; `doc` is the script's docstring."""
    result = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    result.add_argument("--model", default="starter", help="a .gguf, or: starter, gemma (default: starter)")
    result.add_argument(
        "--peers", type=Path, default=PEERS, help="folder of the tools that `make peers` builds"
    )
    result.add_argument("--rounds", type=_positive, default=5, help="runs per side, in turns (default: 5)")
    result.add_argument("--quick", action="store_true", help="one round")
    result.add_argument("--threads", type=int, default=0, help="0: as the engine chooses")
    result.add_argument("--gpu-layers", type=int, default=-1, help="-1: all")
    result.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    return result


def setup(args: argparse.Namespace) -> Setup:
    """The common settings out of parsed arguments.

    Raises:
        BenchError: there is no such model.
    """
    model = find_model(args.model)
    threads = args.threads or EngineConfig(model_path=model).thread_count
    return Setup(model, args.peers, 1 if args.quick else args.rounds, threads, args.gpu_layers)


def counts(text: str) -> tuple[int, ...]:
    """A list such as 1,4,8 for argparse."""
    return tuple(_positive(part) for part in text.split(","))


def note(line: str) -> None:
    """Progress, for a person: stderr, so that stdout stays one JSON document."""
    print(line, file=sys.stderr, flush=True)


def run(
    args: argparse.Namespace,
    measure: Callable[[Setup], Coroutine[Any, Any, Result]],
    show: Callable[[Result], Iterable[str]],
) -> None:
    """Measure and print; the exit code is 1 with one line on stderr when it fails, 130 on Ctrl-C."""
    try:
        result = asyncio.run(_cancelled_by_sigterm(measure(setup(args))))
    except (BenchError, EngineError) as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except asyncio.CancelledError:
        raise SystemExit(143) from None
    print(json.dumps(result, indent=2) if args.json else "\n".join(show(result)))


async def _cancelled_by_sigterm(work: Coroutine[Any, Any, Result]) -> Result:
    # Cancelling runs every `finally`, which is where the peers are ended.
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value
