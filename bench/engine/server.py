"""Aggregate speed of concurrent chats beside llama-server, asked through its HTTP API.

Both sides get the same prompts, sampling, threads, batch, context and KV layout (split, llama-server's
default), and all chats ask at the same time. The result is all tokens over the time from the first request to
the last token, prompts included; the decode rate alone stands beside it. Our client of the server is one thin
socket per chat. llama-batched-bench, which neither samples nor serves, tells in the same rounds what
llama.cpp alone gives: while all chats decode, no engine can have more. It prefills each prompt whole, where
ours and llama-server keep what the chats share.

    python bench/engine/server.py --json
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench import cli
from bench.cli import Result, Setup, Sizes
from bench.engine.llama_server import LlamaServer
from bench.engine.peers import Decoding, batched_bench
from bench.engine.sides import Ours, Side, ask_all, config, overall_rate, question
from bench.ratios import Ratio
from bench.rounds import interleave, overlap_rate
from engine import Engine


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second of one run: over all of it, and while all decode."""

    overall: float
    decode: float

    def __str__(self) -> str:
        return f"{self.overall:.1f} tokens/s"


async def measure(setup: Setup, sizes: Sizes) -> Result:
    """Measure every number of sessions."""
    setup.tool("llama-batched-bench")
    rows = [await _row(setup, sizes, sessions) for sessions in sizes.sessions]
    return setup.describe() | {"gen_tokens": sizes.gen_tokens, "rows": rows}


async def _row(setup: Setup, sizes: Sizes, sessions: int) -> Result:
    context = sessions * sizes.session_context
    ours = config(setup, max_sessions=sessions, context_tokens=context, kv_layout="split")
    async with Engine(ours) as engine, LlamaServer(setup, slots=sessions, context=context) as server:
        for side in (Ours(engine), server):
            await ask_all(side, [question(0, -1)], 8)  # warm up
        prompt = engine.count_prompt(question(0, 0))
        shape = Decoding(sessions, prompt, sizes.gen_tokens, ours.context_tokens)
        once = partial(_once, sessions, sizes.gen_tokens)
        runs = {
            "ours": partial(once, Ours(engine)),
            "llama_server": partial(once, server),
            "batched_bench": partial(_peak, setup, shape),
        }
        label = f"{sessions} sessions:"
        speeds = await interleave(setup.limits, runs, lambda so_far: [overall(so_far)], label=label)
        return row(sessions, speeds)


async def _once(sessions: int, gen_tokens: int, side: Side, number: int) -> Speed:
    answers = await ask_all(side, [question(chat, number) for chat in range(sessions)], gen_tokens)
    await side.idle()
    return Speed(overall_rate(answers), overlap_rate([answer.marks for answer in answers]))


async def _peak(setup: Setup, shape: Decoding, number: int) -> Speed:
    peak = await batched_bench(setup, shape, unified=False)
    return Speed(shape.sessions * shape.gen_tokens / peak.seconds, peak.decode)


def overall(speeds: Mapping[str, Sequence[Speed]]) -> Ratio:
    """Ours over llama-server's, prompts included."""
    return _ratio(speeds, "ours", "overall")


def _ratio(speeds: Mapping[str, Sequence[Speed]], side: str, rate: str) -> Ratio:
    values, peer = ([getattr(speed, rate) for speed in speeds[name]] for name in (side, "llama_server"))
    return Ratio.between(values, peer)


def row(sessions: int, speeds: Mapping[str, Sequence[Speed]]) -> Result:
    """Medians of the speeds, and the ratios."""
    result: Result = {"sessions": sessions}
    for side, some in speeds.items():
        result[f"{side}_tps"] = round(median(speed.overall for speed in some), 1)
        result[f"{side}_decode_tps"] = round(median(speed.decode for speed in some), 1)
    result |= overall(speeds).entry() | _ratio(speeds, "ours", "decode").entry("ratio_decode")
    result |= _ratio(speeds, "batched_bench", "overall").entry("peak_ratio")
    return result | _ratio(speeds, "batched_bench", "decode").entry("peak_ratio_decode")


def show(result: Result) -> Iterator[str]:
    """Format the rows as a table."""
    yield f"{'sessions':>8} {'ours':>8} {'server':>8}   tokens/s; ratio, of decoding only; llama.cpp itself"
    for r in result["rows"]:
        speeds = f"{r['sessions']:8} {r['ours_tps']:8} {r['llama_server_tps']:8}"
        peak = f"{Ratio.read(r, 'peak_ratio')}, {Ratio.read(r, 'peak_ratio_decode')}"
        yield f"{speeds}   {Ratio.read(r)}, {Ratio.read(r, 'ratio_decode')}; {peak}; {r['rounds']} rounds"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    cli.add_sizes(parser, sessions=(1, 4, 8, 16), gen_tokens=128)
    args = parser.parse_args()
    sizes = Sizes(args.sessions, args.gen_tokens, args.session_context)
    cli.run(args, partial(measure, sizes=sizes), show)


if __name__ == "__main__":
    main()
