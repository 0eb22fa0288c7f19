"""Aggregate decode speed beside llama-batched-bench, which neither samples nor schedules, and a bare loop.

All run the same model with the same threads, batch, context and prompt length, in turns, in one run. Ours is
measured where the user sees it, at the readers of the streams, so sampling, detokenizing and delivery are
included. Only the time in which all sessions decode counts. Our engine is set up for throughput: as many
sessions as ask, no latency target, and no speculation, since the peers decode token by token. The bare loop
is Python, too: `llama_decode` and one sampler for each row. What a step of ours takes longer is what our
engine costs. A few rounds with both KV layouts find each side's better one, which is then measured.

    python bench/engine/throughput.py --json
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Literal

from bench import cli
from bench.cli import Result, Setup, Sizes
from bench.engine.peers import Decoding, bare_loop, batched_bench
from bench.engine.sides import Ours, ask_all, decoding, question
from bench.machine import vram_mib
from bench.ratios import Limits, Ratio
from bench.rounds import interleave, overlap_rate
from engine import Engine, EngineConfig

Layout = Literal["unified", "split"]
Speeds = Mapping[str, Sequence[float]]  # tokens per second of each round, by side
Run = Callable[[int], Awaitable[float]]  # of the round's number

_LAYOUTS: tuple[Layout, ...] = ("unified", "split")
_TRIALS = 2  # rounds that find the better layout


@dataclass(frozen=True, slots=True)
class Settings(Sizes):
    """What to measure.

    Args:
        layouts: of the KV cache, for all sides; with one session only the first is run.
    """

    layouts: tuple[Layout, ...]


async def measure(setup: Setup, settings: Settings) -> Result:
    """Measure every number of sessions."""
    setup.tool("llama-batched-bench")
    rows = [await _row(setup, settings, sessions) for sessions in settings.sessions]
    return setup.describe() | {"gen_tokens": settings.gen_tokens, "rows": with_further(rows)}


async def _row(setup: Setup, settings: Settings, sessions: int) -> Result:
    ours, shape = await decoding(setup, settings, sessions)
    about: Result = {}
    layouts = settings.layouts[:1] if sessions == 1 else settings.layouts
    runs = {
        f"{side}_{layout}": run
        for layout in layouts
        for side, run in _runs(setup, replace(ours, kv_layout=layout), shape, about).items()
    }
    label = f"{sessions} sessions:"
    trial: Speeds = {name: [0.0] for name in runs}
    if len(layouts) > 1:
        few = Limits(min(_TRIALS, setup.limits.rounds))
        trial = await interleave(few, runs, label=f"{label} trial,")
    chosen = better_layouts(trial)
    best = {side: runs[f"{side}_{layout}"] for side, layout in chosen.items()}
    speeds = await interleave(setup.limits, best, lambda so_far: ratios(so_far).values(), label=label)
    return row(sessions, speeds) | {f"{side}_layout": layout for side, layout in chosen.items()} | about


def _runs(setup: Setup, ours: EngineConfig, shape: Decoding, about: Result) -> dict[str, Run]:
    """The three sides with one layout."""
    unified = not ours.split_cache

    async def peak(_: int) -> float:
        return (await batched_bench(setup, shape, unified=unified)).decode

    async def bare(_: int) -> float:
        return (await bare_loop(setup, shape, unified=unified)).tps

    return {
        "batched_bench": peak,
        "ours": partial(_ours, ours, shape.gen_tokens, about),
        "bare": bare,
    }


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


def better_layouts(speeds: Speeds) -> dict[str, str]:
    """The layout with which each side is faster.

    Args:
        speeds: by "SIDE_LAYOUT".
    """
    best: dict[str, str] = {}
    for name in sorted(speeds, key=lambda name: median(speeds[name])):
        side, _, layout = name.rpartition("_")
        best[side] = layout
    return best


def ratios(speeds: Speeds) -> dict[str, Ratio]:
    """Ours and the bare loop over llama-batched-bench."""
    peer = speeds["batched_bench"]
    return {
        "ratio": Ratio.between(speeds["ours"], peer),
        "bare_ratio": Ratio.between(speeds["bare"], peer),
    }


def row(sessions: int, speeds: Speeds) -> Result:
    """Medians of the speeds, the ratios, and what a step of ours takes longer than the bare loop's."""
    result: Result = {"sessions": sessions}
    result |= {f"{side}_tps": round(median(values), 1) for side, values in speeds.items()}
    for name, ratio in ratios(speeds).items():
        result |= ratio.entry(name)
    both = zip(speeds["ours"], speeds["bare"], strict=True)
    beyond = [1e3 * sessions * (1 / ours - 1 / bare) for ours, bare in both]
    return result | Ratio.of(beyond).entry("step_beyond_ms")


def with_further(rows: Sequence[Result]) -> list[Result]:
    """The rows; where one chat was measured, those of more also tell what each further one adds to a step."""
    one = next((r["step_beyond_ms"] for r in rows if r["sessions"] == 1), None)
    return [r if one is None or r["sessions"] == 1 else r | _further(r, one) for r in rows]


def _further(row: Result, one: float) -> Result:
    beyond, further = Ratio.read(row, "step_beyond_ms"), row["sessions"] - 1
    low, middle, high = ((ms - one) / further for ms in (beyond.low, beyond.median, beyond.high))
    return Ratio(middle, low, high, beyond.rounds).entry("further_ms")


def show(result: Result) -> Iterator[str]:
    """Format the rows as a table."""
    yield f"{'sessions':>8} {'ours':>8} {'peer':>8} {'bare':>8}   tokens/s; ratios: ours, bare; a step beyond"
    for r in result["rows"]:
        speeds = f"{r['sessions']:8} {r['ours_tps']:8} {r['batched_bench_tps']:8} {r['bare_tps']:8}"
        beyond = f"{r['step_beyond_ms']:.2f} ms, {r['rounds']} rounds"
        yield f"{speeds}   {Ratio.read(r)}, {Ratio.read(r, 'bare_ratio')}; {beyond}"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    cli.add_sizes(parser, sessions=(1, 4, 8, 16, 32), gen_tokens=96)
    parser.add_argument(
        "--layouts", nargs="+", choices=_LAYOUTS, default=_LAYOUTS, help="KV layouts of all sides"
    )
    args = parser.parse_args()
    layouts: tuple[Layout, ...] = tuple(args.layouts)
    settings = Settings(args.sessions, args.gen_tokens, args.session_context, layouts)
    cli.run(args, partial(measure, settings=settings), show)


if __name__ == "__main__":
    main()
