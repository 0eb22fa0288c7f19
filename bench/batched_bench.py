"""llama.cpp's own llama-batched-bench: the ceiling, since it neither samples nor schedules."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE

from bench.cli import Setup
from bench.errors import BenchError

__all__ = ["batched_bench", "clean_environment", "last_words"]

_NAME = "llama-batched-bench"


async def batched_bench(
    setup: Setup, *, sessions: int, prompt_tokens: int, gen_tokens: int, context: int, unified: bool
) -> float:
    """Its decode tokens per second, all sessions together.

    Raises:
        BenchError: it is missing, or failed.
    """
    sizes = {
        "-c": context,
        "-b": 512,
        "-ub": 512,
        "-npp": prompt_tokens,
        "-ntg": gen_tokens,
        "-npl": sessions,
    }
    shared = {"-t": setup.threads, "-tb": setup.threads, "-ngl": setup.gpu_layers}
    options = [str(part) for pair in (sizes | shared).items() for part in pair]
    process = await asyncio.create_subprocess_exec(
        setup.tool(_NAME),
        *("-m", str(setup.model), "--output-format", "jsonl", *options),
        "-kvu" if unified else "-no-kvu",
        stdout=PIPE,
        stderr=PIPE,
        env=clean_environment(),
    )
    try:
        stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = [line for line in stdout.decode().splitlines() if line.startswith("{")]
    if process.returncode or len(lines) != 1:
        raise BenchError(f"{_NAME} failed (exit {process.returncode}): {last_words(stderr)}")
    return float(json.loads(lines[0])["speed_tg"])


def clean_environment() -> dict[str, str]:
    """The environment without variables that would change a peer's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")}


def last_words(stderr: bytes) -> str:
    """The end of what a peer said, in one line."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "it said nothing"
