"""Where the time of a step goes, beside the bare loop's: the forward pass, the samplers, and all else.

Three sides run in turns with the same model, batch, context and depth: the bare loop, the engine, and the
engine while its readers sleep, who are told only at the start and at the end of an answer. So what the second
takes longer than the third is what waking the readers costs, and the rest of a step is our own Python.

    python bench/engine/step.py --json
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from statistics import mean
from unittest import mock

from bench import cli
from bench.cli import Result, Setup, Sizes
from bench.engine.overhead import Forward, steady, watch
from bench.engine.peers import Decoding, bare_loop
from bench.engine.sides import Ours, ask_all, decoding, question
from bench.ratios import Ratio
from bench.rounds import interleave
from engine import Engine, EngineConfig

_SLEEP_S = 600.0  # between two rounds of the mailroom, while readers sleep


@dataclass(frozen=True, slots=True)
class Step:
    """Milliseconds of a mean step, and of its parts."""

    step_ms: float
    forward_ms: float
    sample_ms: float
    rest_ms: float

    def __str__(self) -> str:
        return f"{self.step_ms:.2f} ms"


async def measure(setup: Setup, sizes: Sizes) -> Result:
    """Measure every number of sessions."""
    rows = [await _row(setup, sizes, sessions) for sessions in sizes.sessions]
    return setup.describe() | {"gen_tokens": sizes.gen_tokens, "rows": rows}


async def _row(setup: Setup, sizes: Sizes, sessions: int) -> Result:
    ours, shape = await decoding(setup, sizes, sessions)
    runs = {
        "bare": partial(_bare, setup, shape, not ours.split_cache),
        "ours": partial(_ours, ours, sizes.gen_tokens),
        "asleep": partial(_asleep, ours, sizes.gen_tokens),
    }
    steps = await interleave(
        setup.limits, runs, lambda so_far: [beyond(so_far)], label=f"{sessions} sessions:"
    )
    return row(sessions, steps)


async def _bare(setup: Setup, shape: Decoding, unified: bool, number: int) -> Step:
    found = await bare_loop(setup, shape, unified=unified)
    inside = found.forward_ms + found.sample_ms
    return Step(found.step_ms, found.forward_ms, found.sample_ms, found.step_ms - inside)


async def _ours(config: EngineConfig, gen_tokens: int, number: int) -> Step:
    from engine.llama import LlamaBackend  # loads llama.cpp's libraries

    forwards: list[Forward] = []
    async with Engine(config, load=lambda c, progress: watch(LlamaBackend(c, progress), forwards)) as engine:
        side, chats = Ours(engine), range(config.max_sessions)
        await ask_all(side, [question(chat, -1) for chat in chats], 4)  # warm up
        await side.idle()
        forwards.clear()
        await ask_all(side, [question(chat, number) for chat in chats], gen_tokens)
    return mean_step(forwards, config.max_sessions)


async def _asleep(config: EngineConfig, gen_tokens: int, number: int) -> Step:
    with mock.patch("engine.stream._ROUND_S", _SLEEP_S):
        return await _ours(config, gen_tokens, number)


def mean_step(forwards: Sequence[Forward], sessions: int) -> Step:
    """The mean of the steps in which all sessions decode."""
    pairs = steady(forwards, sessions)
    step = mean(after.begin - before.begin for before, after in pairs) * 1e3
    forward = mean(before.decode for before, _ in pairs) * 1e3
    sample = mean(before.sample for before, _ in pairs) * 1e3
    return Step(step, forward, sample, step - forward - sample)


def beyond(steps: Mapping[str, Sequence[Step]], side: str = "ours", part: str = "step_ms") -> Ratio:
    """Milliseconds that a step, or a part of it, takes longer than the bare loop's."""
    return _difference(steps[side], steps["bare"], part)


def _difference(some: Sequence[Step], others: Sequence[Step], part: str) -> Ratio:
    pairs = zip(some, others, strict=True)
    return Ratio.of([getattr(step, part) - getattr(other, part) for step, other in pairs])


def row(sessions: int, steps: Mapping[str, Sequence[Step]]) -> Result:
    """The medians of the bare loop's parts, and what each part takes longer on the other sides."""
    parts = [part.name for part in fields(Step)]
    result: Result = {"sessions": sessions}
    for part in parts:
        result[f"bare_{part}"] = round(Ratio.of([getattr(step, part) for step in steps["bare"]]).median, 3)
    for side in ("ours", "asleep"):
        for part in parts:
            result |= beyond(steps, side, part).entry(f"{side}_{part}")
    return result | _difference(steps["ours"], steps["asleep"], "step_ms").entry("awake_ms")


def show(result: Result) -> Iterator[str]:
    """Format the rows as a table."""
    parts = [part.name for part in fields(Step)]
    heads = "".join(f"{part.removesuffix('_ms'):>9}" for part in parts)
    yield f"{'sessions':>8}         {heads}   ms; ours and asleep: beyond the bare loop"
    for r in result["rows"]:
        for side in ("bare", "ours", "asleep"):
            values = "".join(f"{r[f'{side}_{part}']:9.3f}" for part in parts)
            yield f"{r['sessions']:8}  {side:7}{values}   {r['rounds']} rounds"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    cli.add_sizes(parser, sessions=(1, 4, 16), gen_tokens=96)
    args = parser.parse_args()
    sizes = Sizes(args.sessions, args.gen_tokens, args.session_context)
    cli.run(args, partial(measure, sizes=sizes), show)


if __name__ == "__main__":
    main()
