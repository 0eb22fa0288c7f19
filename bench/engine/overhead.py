"""What our own Python costs: its share of a real step, and per step and token in isolation.

The share is measured while 32 sessions decode: the time between the starts of two forward passes that was not
spent inside llama.cpp, over all of it. In isolation, a fake backend that computes nothing stands in for
llama.cpp, and the engine thread's own CPU time between two passes counts, which leaves out other threads and
programs.

    python bench/engine/overhead.py --json
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import mean, median
from time import perf_counter, thread_time

from bench import cli
from bench.cli import BenchError, Result, Setup, note
from bench.engine.fake_backend import FakeBackend
from bench.engine.sides import Ours, ask_all, config, question
from bench.ratios import Ratio
from engine import Engine
from engine.step import Backend, StepPlan, StepResult

__all__ = ["Forward", "cpu_per_step", "measure", "python_share", "steady", "watch"]

_FORWARD_S = 0.002  # per forward pass of the fake; a GPU takes about as long


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure; gen_tokens is the length of an answer."""

    sessions: int
    gen_tokens: int
    isolated: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forward:
    """One call into the backend: wall clock and thread time at its ends, in seconds.

    Args:
        decode, sample: seconds spent in llama.cpp: in the forward pass, and choosing tokens.
        decodes: sequences decoded; 0 if the step also prefilled or moved cells.
    """

    begin: float
    begin_cpu: float
    end_cpu: float
    decode: float
    sample: float
    decodes: int

    @property
    def inside(self) -> float:
        """Seconds spent in llama.cpp."""
        return self.decode + self.sample


async def measure(setup: Setup, settings: Settings) -> Result:
    """Measure the share with the real model, then the cost in isolation."""
    real = [await _real(setup, settings, number) for number in setup.limits.numbers()]
    rows = [await _isolated(setup, settings, sessions) for sessions in settings.isolated]
    return setup.describe() | {
        "sessions": settings.sessions,
        **Ratio.of([share for share, _, _ in real]).entry("python_share"),
        "step_ms": round(median(step for _, step, _ in real) * 1e3, 3),
        "stats_overhead": round(median(whole for _, _, whole in real), 5),
        "isolated": rows,
    }


async def _real(setup: Setup, settings: Settings, number: int) -> tuple[float, float, float]:
    from engine.llama import LlamaBackend  # loads llama.cpp's libraries

    forwards: list[Forward] = []
    ours = config(
        setup, max_sessions=settings.sessions, context_tokens=settings.sessions * 2048, step_target_ms=60_000
    )

    async with Engine(ours, load=lambda c, progress: watch(LlamaBackend(c, progress), forwards)) as engine:
        chats = [question(chat, number) for chat in range(settings.sessions)]
        await ask_all(Ours(engine), chats, settings.gen_tokens)
        whole = engine.stats().overhead
    share, step = python_share(forwards, settings.sessions)
    label = f"{settings.sessions} sessions, round {number + 1}"
    note(f"  {label}: {share:.2%} of {step * 1e3:.1f} ms")
    return share, step, whole


async def _isolated(setup: Setup, settings: Settings, sessions: int) -> Result:
    forwards: list[Forward] = []
    cells = sessions * 2048
    ours = config(setup, max_sessions=sessions, context_tokens=cells, max_queue=sessions)
    async with Engine(ours, load=lambda *_: watch(FakeBackend(cells, _FORWARD_S), forwards)) as engine:
        chats = [question(chat, 0) for chat in range(sessions)]
        await ask_all(Ours(engine), chats, 2 * settings.gen_tokens)
    cost = cpu_per_step(forwards, sessions) * 1e6
    note(f"  {sessions} sessions on the fake backend: {cost:.0f} µs per step")
    return {"sessions": sessions, "step_us": round(cost, 1), "token_us": round(cost / sessions, 2)}


def watch(backend: Backend, forwards: list[Forward]) -> Backend:
    """Record every forward pass of a backend."""
    execute = backend.execute

    def timed(plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        begin, begin_cpu = perf_counter(), thread_time()
        result = execute(plan, meanwhile)
        only = not plan.moves and all(len(work.tokens) == work.rows == 1 for work in plan.work)
        decodes = len(plan.work) if only else 0
        spent = result.decode_s, result.sample_s
        forwards.append(Forward(begin, begin_cpu, thread_time(), *spent, decodes))
        return result

    backend.execute = timed  # type: ignore[method-assign]
    return backend


def python_share(forwards: Sequence[Forward], sessions: int) -> tuple[float, float]:
    """The share of time outside llama.cpp and the seconds of a step, while all sessions decode."""
    pairs = steady(forwards, sessions)
    took = [after.begin - before.begin for before, after in pairs]
    inside = sum(before.inside for before, _ in pairs)
    return 1 - inside / sum(took), median(took)


def cpu_per_step(forwards: Sequence[Forward], sessions: int) -> float:
    """Seconds of thread time between two forward passes, while all sessions decode."""
    return mean(after.begin_cpu - before.end_cpu for before, after in steady(forwards, sessions))


def steady(forwards: Sequence[Forward], sessions: int) -> list[tuple[Forward, Forward]]:
    """The passes in which all sessions decode, each with the next.

    Raises:
        BenchError: there are none.
    """
    pairs = [pair for pair in pairwise(forwards) if pair[0].decodes == pair[1].decodes == sessions]
    if not pairs:
        raise BenchError(f"The {sessions} sessions never all decoded at once: generate more tokens.")
    return pairs


def show(result: Result) -> Iterator[str]:
    """Format the share and a table."""
    yield (
        f"Python's share of a step at {result['sessions']} sessions: {result['python_share']:.2%}"
        f" of {result['step_ms']} ms ({result['stats_overhead']:.2%} of the whole run)"
    )
    yield f"{'sessions':>8} {'µs/step':>8} {'µs/token':>9}   on the fake backend"
    for row in result["isolated"]:
        yield f"{row['sessions']:8} {row['step_us']:8} {row['token_us']:9}"


def main() -> None:
    """Measure and print."""
    parser = cli.parser(__doc__)
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--gen-tokens", type=int, default=128)
    parser.add_argument("--isolated", type=cli.counts, default=(1, 8, 32, 64))
    args = parser.parse_args()
    settings = Settings(args.sessions, args.gen_tokens, args.isolated)
    cli.run(args, partial(measure, settings=settings), show)


if __name__ == "__main__":
    main()
