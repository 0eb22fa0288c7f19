"""Aggregate decode speed beside llama-batched-bench, which neither samples nor schedules.

Both run the same model with the same threads, batch, context and prompt length, in turns, in one run. Ours is
measured where the user sees it, at the readers of the streams, so sampling, detokenizing and delivery are
included. Only the time in which all sessions decode counts. Our engine is set up for throughput: as many
sessions as ask, no latency target, and no speculation, since the peer decodes token by token. Each side runs
with both KV layouts, and the better of each counts.

    python bench/engine/throughput.py --json
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, Literal

from bench import cli
from bench.cli import Result, Setup
from bench.engine.peers import batched_bench
from bench.engine.sides import Ours, ask_all, config, question
from bench.machine import vram_mib
from bench.rounds import interleave, overlap_rate, ratio
from engine import Engine, EngineConfig

Layout = Literal["unified", "split"]
_LAYOUTS: tuple[Layout, ...] = ("unified", "split")


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure; sizes in tokens.

    Args:
        session_context: KV cells per session, for both sides.
        layouts: of the KV cache, for both sides; with one session only the first is run.
    """

    sessions: tuple[int, ...]
    gen_tokens: int
    session_context: int
    layouts: tuple[Layout, ...]


async def measure(setup: Setup, settings: Settings) -> Result:
    """Measure every number of sessions."""
    setup.tool("llama-batched-bench")
    rows = [await _row(setup, settings, sessions) for sessions in settings.sessions]
    return setup.describe() | {"gen_tokens": settings.gen_tokens, "rows": rows}


# A model without a template would stop at the next "User:", in the middle of a measurement.
_PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}"


async def _row(setup: Setup, settings: Settings, sessions: int) -> Result:
    context = sessions * settings.session_context
    ours = config(
        setup,
        max_sessions=sessions,
        cached_sessions=0,
        context_tokens=context,
        step_target_ms=60_000,
        chat_template=_PLAIN,
    )
    async with Engine(ours) as engine:
        prompt = engine.count_prompt(question(0, 0))
    about: Result = {}
    runs: dict[str, Callable[[int], Coroutine[Any, Any, float]]] = {}
    for layout in settings.layouts[:1] if sessions == 1 else settings.layouts:
        runs[f"batched_bench_{layout}"] = _each_round(
            partial(
                batched_bench,
                setup,
                sessions=sessions,
                prompt_tokens=prompt,
                gen_tokens=settings.gen_tokens,
                context=context,
                unified=layout == "unified",
            )
        )
        runs[f"ours_{layout}"] = partial(_ours, replace(ours, kv_layout=layout), settings.gen_tokens, about)
    speeds = await interleave(setup.rounds, runs, label=f"{sessions} sessions:")
    return row(sessions, speeds) | about


async def _ours(config: EngineConfig, gen_tokens: int, about: Result, number: int) -> float:
    """One run in its own engine: with two in a process, libgomp's threads spin less for both."""
    before = vram_mib()
    async with Engine(config) as engine:
        if before is not None and (now := vram_mib()) is not None:
            about["vram_mib"] = now - before
        side, chats = Ours(engine), range(config.max_sessions)
        await ask_all(side, [question(chat, -1) for chat in chats], 4)  # warm up
        answers = await ask_all(side, [question(chat, number) for chat in chats], gen_tokens)
        await side.idle()
        about["overhead"] = round(engine.stats().overhead, 4)
    return overlap_rate([answer.marks for answer in answers])


def _each_round(
    once: Callable[[], Coroutine[Any, Any, float]],
) -> Callable[[int], Coroutine[Any, Any, float]]:
    return lambda _: once()


def row(sessions: int, speeds: dict[str, list[float]]) -> Result:
    """Medians over the rounds, and the median of the rounds' ratios of the better layouts.

    Args:
        speeds: tokens per second of each round, by "ours_LAYOUT" and "batched_bench_LAYOUT".
    """
    result: Result = {"sessions": sessions}
    best = {}
    for side in ("ours", "batched_bench"):
        names = [name for name in speeds if name.startswith(side)]
        best[side] = max(names, key=lambda name: median(speeds[name]))
        result[f"{side}_tps"] = round(median(speeds[best[side]]), 1)
        result[f"{side}_layout"] = best[side].removeprefix(f"{side}_")
        result |= {f"{name}_tps": round(median(speeds[name]), 1) for name in names}
    return result | {"ratio": round(ratio(speeds[best["ours"]], speeds[best["batched_bench"]]), 3)}


def show(result: Result) -> Iterator[str]:
    """Format the rows as a table."""
    yield f"{'sessions':>8} {'ours':>8} {'layout':>8} {'peer':>8} {'layout':>8} {'ratio':>6}   tokens/s"
    for r in result["rows"]:
        ours = f"{r['sessions']:8} {r['ours_tps']:8} {r['ours_layout']:>8}"
        yield f"{ours} {r['batched_bench_tps']:8} {r['batched_bench_layout']:>8} {r['ratio']:6.3f}"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    parser.add_argument("--sessions", type=cli.counts, default=(1, 4, 8, 16, 32))
    parser.add_argument("--gen-tokens", type=int, default=96)
    parser.add_argument("--session-context", type=int, default=2048, help="KV cells per session")
    parser.add_argument(
        "--layouts", nargs="+", choices=_LAYOUTS, default=_LAYOUTS, help="KV layouts of both sides"
    )
    args = parser.parse_args()
    layouts: tuple[Layout, ...] = tuple(args.layouts)
    settings = Settings(args.sessions, args.gen_tokens, args.session_context, layouts)
    cli.run(args, partial(measure, settings=settings), show)


if __name__ == "__main__":
    main()
