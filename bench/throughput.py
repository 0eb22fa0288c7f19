"""Aggregate decode speed beside llama-batched-bench, which neither samples nor schedules.

Both run the same model with the same threads, batch, context and prompt length, in turns, in one run. Ours is
measured where the user sees it, at the readers of the streams: sampling, detokenising and delivery are
inside. Only the time in which all sessions decode counts. Our engine is set up as for throughput: as many
sessions as are asked, no latency target, and no speculation, since the peer decodes token by token.

    python bench/throughput.py --json
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Literal

from bench import cli
from bench.batched_bench import batched_bench
from bench.cli import Result, Setup
from bench.machine import vram_mib
from bench.prompts import question
from bench.rounds import interleave, overlap_rate, ratio
from bench.sides import Ours, ask_all, config
from engine import Engine

_PEERS = ("unified", "split")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured; sizes in tokens.

    Args:
        session_context: KV cells per session, for both sides.
        layout: of our KV cache.
        peers: the peer's KV layouts to run.
    """

    sessions: tuple[int, ...]
    gen_tokens: int
    session_context: int
    layout: Literal["auto", "unified", "split"]
    peers: tuple[str, ...]


async def measure(setup: Setup, settings: Settings) -> Result:
    """All rows."""
    setup.tool("llama-batched-bench")
    rows = [await _row(setup, settings, sessions) for sessions in settings.sessions]
    return setup.describe() | {"gen_tokens": settings.gen_tokens, "rows": rows}


# Without a template of its own a model would stop at the next "User:", in the middle of what is measured.
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
        kv_layout=settings.layout,
    )
    before = vram_mib()
    async with Engine(ours) as engine:
        after = vram_mib()
        prompt = engine.count_prompt(question(0, 0))
        peer = partial(
            batched_bench,
            setup,
            sessions=sessions,
            prompt_tokens=prompt,
            gen_tokens=settings.gen_tokens,
            context=context,
        )
        runs: dict[str, Callable[[int], Coroutine[Any, Any, float]]]
        runs = {layout: _once(peer, layout) for layout in settings.peers}
        runs["ours"] = partial(_ours, Ours(engine), sessions, settings.gen_tokens)
        speeds = await interleave(setup.rounds, runs, label=f"{sessions} sessions:")
        stats = engine.stats()
    about: Result = {"kv_layout": stats.kv_layout, "overhead": round(stats.overhead, 4)}
    if before is not None and after is not None:
        about["vram_mib"] = after - before
    return row(sessions, speeds) | about


async def _ours(side: Ours, sessions: int, gen_tokens: int, number: int) -> float:
    answers = await ask_all(side, [question(chat, number) for chat in range(sessions)], gen_tokens)
    await side.idle()
    return overlap_rate([answer.marks for answer in answers])


def _once(
    peer: Callable[..., Coroutine[Any, Any, float]], layout: str
) -> Callable[[int], Coroutine[Any, Any, float]]:
    return lambda _: peer(unified=layout == "unified")


def row(sessions: int, speeds: dict[str, list[float]]) -> Result:
    """Medians, and ratios taken round by round; `ratio` is to the peer's better layout.

    Args:
        speeds: tokens per second of each round, by "ours" and by the peer's layouts.
    """
    layouts = [name for name in speeds if name != "ours"]
    best = max(layouts, key=lambda name: median(speeds[name]))
    result: Result = {
        "sessions": sessions,
        "ours_tps": round(median(speeds["ours"]), 1),
        "batched_bench_tps": round(median(speeds[best]), 1),
        "ratio": round(ratio(speeds["ours"], speeds[best]), 3),
        "batched_bench_layout": best,
    }
    for layout in layouts:
        result[f"batched_bench_{layout}_tps"] = round(median(speeds[layout]), 1)
        result[f"ratio_{layout}"] = round(ratio(speeds["ours"], speeds[layout]), 3)
    return result


def show(result: Result) -> Iterator[str]:
    """The rows as a table."""
    yield f"{'sessions':>8} {'ours':>8} {'layout':>8} {'peer':>8} {'layout':>8} {'ratio':>6}   tokens/s"
    for r in result["rows"]:
        ours = f"{r['sessions']:8} {r['ours_tps']:8} {r['kv_layout']:>8}"
        yield f"{ours} {r['batched_bench_tps']:8} {r['batched_bench_layout']:>8} {r['ratio']:6.3f}"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    parser.add_argument("--sessions", type=cli.counts, default=(1, 4, 8, 16, 32))
    parser.add_argument("--gen-tokens", type=int, default=96)
    parser.add_argument("--session-context", type=int, default=2048, help="KV cells per session")
    parser.add_argument("--kv-layout", choices=("auto", *_PEERS), default="auto", help="of our KV cache")
    parser.add_argument("--layouts", default=",".join(_PEERS), help="the peer's KV layouts to run")
    args = parser.parse_args()
    layouts = tuple(args.layouts.split(","))
    if not set(layouts) <= set(_PEERS):
        parser.error(f"--layouts takes {', '.join(_PEERS)}")
    settings = Settings(args.sessions, args.gen_tokens, args.session_context, args.kv_layout, layouts)
    cli.run(args, partial(measure, settings=settings), show)


if __name__ == "__main__":
    main()
