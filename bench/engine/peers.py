"""Peers as processes of their own, in a clean environment: llama-batched-bench and the loop of `bare`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bench.cli import BenchError, Setup

__all__ = [
    "BareStep",
    "Decoding",
    "Peak",
    "bare_loop",
    "bare_passes",
    "batched_bench",
    "clean_environment",
    "last_words",
    "start",
]

_TUNING = ("GOMP_", "OMP_", "KMP_", "GGML_", "LLAMA_", "CUDA_")
# These tune nothing: they say which devices and which libraries there are, for both sides.
_KEPT = {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH", "LLAMA_CPP_LIB_PATH"}
_BATCH = 512  # tokens of a batch on all sides
_BARE = Path(__file__).with_name("bare.py")


@dataclass(frozen=True, slots=True)
class Decoding:
    """What to decode; sizes in tokens.

    Args:
        context: KV cells of all sessions together.
    """

    sessions: int
    prompt_tokens: int
    gen_tokens: int
    context: int


@dataclass(frozen=True, slots=True)
class Peak:
    """llama-batched-bench, which neither samples nor schedules: the speed of llama.cpp itself.

    Args:
        decode: tokens per second while all sessions decode.
        seconds: of the whole run, prompts included.
    """

    decode: float
    seconds: float


@dataclass(frozen=True, slots=True)
class BareStep:
    """The bare loop: tokens per second, and milliseconds of a step, in `llama_decode` and in the samplers."""

    tps: float
    step_ms: float
    forward_ms: float
    sample_ms: float


async def batched_bench(setup: Setup, shape: Decoding, *, unified: bool) -> Peak:
    """Run llama-batched-bench: all sessions prefill, then all decode.

    Raises:
        BenchError: the tool is missing or failed.
    """
    sizes = {"-c": shape.context, "-b": _BATCH, "-ub": _BATCH, "-npl": shape.sessions}
    sizes |= {"-npp": shape.prompt_tokens, "-ntg": shape.gen_tokens}
    shared = {"-t": setup.threads, "-tb": setup.threads, "-ngl": setup.gpu_layers}
    layout = "-kvu" if unified else "-no-kvu"
    tool = setup.tool("llama-batched-bench")
    command: list[str | Path] = [tool, "-m", setup.model, "--output-format", "jsonl", layout]
    found = await _json_of(command, sizes | shared)
    return Peak(float(found["speed_tg"]), float(found["t"]))


async def bare_loop(setup: Setup, shape: Decoding, *, unified: bool) -> BareStep:
    """Run a bare Python loop, one sampler for each row.

    Raises:
        BenchError: it failed.
    """
    sizes = {"--sessions": shape.sessions, "--prompt-tokens": shape.prompt_tokens}
    sizes |= {"--gen-tokens": shape.gen_tokens, "--context": shape.context}
    layout = ["--split"] if not unified else []
    found = await _json_of([*_bare(setup), *layout], sizes)
    return BareStep(**{name: float(value) for name, value in found.items()})


async def bare_passes(setup: Setup, *, cached: int, rows: Sequence[int], context: int) -> list[float]:
    """Milliseconds of a forward pass for each number of rows, behind `cached` tokens, with nothing else
    running.

    Raises:
        BenchError: it failed.
    """
    command = [*_bare(setup), "--rows", *map(str, rows)]
    found = await _json_of(command, {"--cached": cached, "--context": context})
    return [float(milliseconds) for milliseconds in found["pass_ms"]]


def _bare(setup: Setup) -> list[str | Path]:
    shared = {"--threads": setup.threads, "--gpu-layers": setup.gpu_layers, "--batch": _BATCH}
    return [sys.executable, _BARE, "--json", "--model", setup.model, *_options(shared)]


async def start(command: Sequence[str | Path], *, stdout: int | IO[Any], stderr: int | IO[Any]) -> Process:
    """Start a peer."""
    environment = clean_environment(os.environ)
    return await asyncio.create_subprocess_exec(*command, stdout=stdout, stderr=stderr, env=environment)


def clean_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that tune a peer."""
    return {name: value for name, value in variables.items() if name in _KEPT or not name.startswith(_TUNING)}


async def _json_of(command: Sequence[str | Path], options: Mapping[str, int]) -> dict[str, Any]:
    """The one line of JSON that a peer prints before it ends."""
    process = await start([*command, *_options(options)], stdout=PIPE, stderr=PIPE)
    try:
        stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = [line for line in stdout.decode().splitlines() if line.startswith("{")]
    if process.returncode or len(lines) != 1:
        name = next(Path(part).stem for part in command if part != sys.executable)
        raise BenchError(f"{name} failed (exit {process.returncode}): {last_words(stderr)}")
    found: dict[str, Any] = json.loads(lines[0])
    return found


def _options(values: Mapping[str, int]) -> list[str]:
    return [str(part) for pair in values.items() for part in pair]


def last_words(stderr: bytes) -> str:
    """The last lines of a peer's output, as one."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "no output"
