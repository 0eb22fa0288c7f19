"""What a forward pass costs by the number of its tokens, with nothing around it.

Where memory is the limit, several rows cost as much as one; on a CPU each is computed, and attention works in
tiles only from 64 on. So this says what a draft of speculation costs to verify, and which chunk of a prompt
is worth its time.

    python bench/engine/passes.py --json
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench import cli
from bench.cli import Result, Setup
from bench.engine.peers import bare_passes
from bench.ratios import Ratio
from bench.rounds import interleave


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure; sizes in tokens.

    Args:
        cached: before the pass, in the KV cache.
        tokens: of the pass.
    """

    cached: tuple[int, ...]
    tokens: tuple[int, ...]
    context: int


async def measure(setup: Setup, settings: Settings) -> Result:
    """Measure every number of tokens behind every number of cached ones."""
    runs = {str(cached): partial(_passes, setup, settings, cached) for cached in settings.cached}
    found = await interleave(setup.limits, runs, label="ms behind")
    rows = [
        row(cached, tokens, found[str(cached)], place)
        for cached in settings.cached
        for place, tokens in enumerate(settings.tokens, 1)
    ]
    return setup.describe() | {"rows": rows}


async def _passes(setup: Setup, settings: Settings, cached: int, number: int) -> list[float]:
    return await bare_passes(setup, cached=cached, rows=(1, *settings.tokens), context=settings.context)


def row(cached: int, tokens: int, rounds: Sequence[Sequence[float]], place: int) -> Result:
    """The median time of a pass, and in how many times that of a pass of one token.

    Args:
        rounds: milliseconds of each pass of a round; the first is that of one token.
        place: of the pass in a round.
    """
    times, one = [found[place] for found in rounds], [found[0] for found in rounds]
    result: Result = {"cached_tokens": cached, "tokens": tokens}
    result |= {"pass_ms": round(Ratio.of(times).median, 2), "one_ms": round(Ratio.of(one).median, 2)}
    return result | Ratio.between(times, one).entry()


def show(result: Result) -> Iterator[str]:
    """Format the rows as a table."""
    yield f"{'cached':>7}{'tokens':>7}{'ms':>10}{'of one':>10}   ratio"
    for r in result["rows"]:
        times = f"{r['pass_ms']:10.2f}{r['one_ms']:10.2f}"
        yield f"{r['cached_tokens']:7}{r['tokens']:7}{times}   {Ratio.read(r)}, {r['rounds']} rounds"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    parser.add_argument("--cached", type=cli.counts, default=(400, 1000), help="tokens in the KV cache")
    parser.add_argument("--tokens", type=cli.counts, default=(7, 24, 54, 64, 256), help="of the pass")
    parser.add_argument("--context", type=int, default=4096, help="KV cells")
    args = parser.parse_args()
    settings = Settings(args.cached, args.tokens, args.context)
    cli.run(args, partial(measure, settings=settings), show)


if __name__ == "__main__":
    main()
