"""A long prompt arrives while others stream: how long do they stall, and how long does it wait?

Some sessions decode; then one sends a long prompt that no cache holds. Until its first token, the gaps
between the others' tokens are measured at their readers, and its own time to first token. llama-server runs
with its default batch of 2,048 tokens and also with our batch of 512, with which it does better. With
--focused the arriving chat is the one on screen, as when a person types while other chats are being answered.

    python bench/engine/latency.py --json
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from bench import cli
from bench.cli import BenchError, Result, Setup
from bench.engine.llama_server import LlamaServer
from bench.engine.sides import Answer, Ours, Side, config, question, text_of
from bench.ratios import Ratio
from bench.rounds import gaps_within, interleave, percentile
from engine import ChatMessage, Engine

_ARRIVING = "arriving"  # its session
_WARM_TOKENS = 16  # each writer streams this many before the prompt arrives


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure; sizes in tokens.

    Args:
        focused: whether the arriving chat is on screen.
    """

    writers: int
    prompt_tokens: int
    session_context: int
    focused: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """The effect of one arriving prompt, in seconds."""

    longest: float
    middle: float
    p95: float
    ttft: float

    def __str__(self) -> str:
        return f"gap {self.longest * 1e3:.0f} ms, ttft {self.ttft:.2f} s"


async def measure(setup: Setup, settings: Settings) -> Result:
    """The gaps and the time to first token of each side, and the ratios."""
    slots = settings.writers + 1
    context = slots * settings.session_context
    server = partial(LlamaServer, setup, slots=slots, context=context)
    ours = config(setup, max_sessions=slots, context_tokens=context)
    async with Engine(ours) as engine, server(batch=0) as default, server(batch=512) as small:
        once = partial(_once, settings, engine)
        runs = {
            "ours": partial(once, Ours(engine)),
            "llama_server": partial(once, default),
            "llama_server_512": partial(once, small),
        }
        engine.focus(_ARRIVING if settings.focused else None)
        label = f"{settings.prompt_tokens} tokens arrive:"
        arrivals = await interleave(
            setup.limits, runs, lambda so_far: list(ratios(so_far).values())[:2], label=label
        )
    counts = {"writers": settings.writers, "prompt_tokens": settings.prompt_tokens}
    return setup.describe() | counts | {"focused": settings.focused} | summary(arrivals)


async def _once(settings: Settings, engine: Engine, side: Side, number: int) -> Arrival:
    text = text_of(settings.prompt_tokens, engine.count_tokens, f"arrival {number} {type(side).__name__}")
    newcomer = replace(await side.prepare([ChatMessage("user", text)]), session=_ARRIVING)
    writers = [Answer() for _ in range(settings.writers)]
    tasks = [
        asyncio.create_task(
            side.ask(await side.prepare(question(chat, number)), settings.session_context // 2, a)
        )
        for chat, a in enumerate(writers)
    ]
    try:
        while any(answer.tokens < _WARM_TOKENS for answer in writers):
            await _alive(tasks)
        answer = Answer()
        await side.ask(newcomer, 1, answer)
        first = answer.marks[0][0]
        while any(writer.marks[-1][0] < first for writer in writers):
            await _alive(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await side.idle()
    return arrival([gaps_within(writer.marks, answer.sent, first) for writer in writers], answer.ttft_s)


async def _alive(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.sleep(0.005)
    for task in tasks:
        if task.done():
            task.result()
            raise BenchError("A writer ended before the prompt was prefilled: raise --session-context.")


def arrival(gaps: list[list[float]], ttft: float) -> Arrival:
    """The statistics of all writers' gaps together."""
    together = [gap for some in gaps for gap in some]
    return Arrival(max(together), median(together), percentile(together, 95), ttft)


def ratios(arrivals: Mapping[str, Sequence[Arrival]]) -> dict[str, Ratio]:
    """Ours over each peer's: longest gaps and times to first token; the default llama-server's first."""
    result: dict[str, Ratio] = {}
    ours = arrivals["ours"]
    for name in ("llama_server", "llama_server_512"):
        suffix, peer = name.removeprefix("llama_server"), arrivals[name]
        result[f"gap_ratio{suffix}"] = Ratio.between((a.longest for a in ours), (a.longest for a in peer))
        result[f"ttft_ratio{suffix}"] = Ratio.between((a.ttft for a in ours), (a.ttft for a in peer))
    return result


def summary(arrivals: Mapping[str, Sequence[Arrival]]) -> Result:
    """Medians by side, and the ratios."""
    result: Result = {}
    for name, some in arrivals.items():
        result[name] = {
            "gap_ms": round(median(a.longest for a in some) * 1e3, 1),
            "gap_median_ms": round(median(a.middle for a in some) * 1e3, 1),
            "gap_p95_ms": round(median(a.p95 for a in some) * 1e3, 1),
            "ttft_s": round(median(a.ttft for a in some), 3),
        }
    for name, ratio in ratios(arrivals).items():
        result |= ratio.entry(name)
    return result


def show(result: Result) -> Iterator[str]:
    """Format the sides as a table."""
    yield f"{'':18} {'longest gap':>12} {'median':>8} {'p95':>8} {'TTFT':>8}"
    for name in ("ours", "llama_server", "llama_server_512"):
        r = result[name]
        gaps = f"{r['gap_ms']:9.0f} ms {r['gap_median_ms']:5.0f} ms {r['gap_p95_ms']:5.0f} ms"
        yield f"{name:18} {gaps} {r['ttft_s']:6.2f} s"
    for name, what in (("gap", "longest gap"), ("ttft", "time to first token")):
        default, small = (Ratio.read(result, f"{name}_ratio{suffix}") for suffix in ("", "_512"))
        yield f"ours / server, {what}: {default}, with a batch of 512: {small}"
    yield f"{result['rounds']} rounds{', the arriving chat on screen' if result['focused'] else ''}"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--prompt-tokens", type=int, default=1200)
    parser.add_argument("--session-context", type=int, default=2048, help="KV cells per session")
    parser.add_argument("--focused", action="store_true", help="the arriving chat is on screen")
    args = parser.parse_args()
    settings = Settings(args.writers, args.prompt_tokens, args.session_context, args.focused)
    cli.run(args, partial(measure, settings=settings), show)


if __name__ == "__main__":
    main()
