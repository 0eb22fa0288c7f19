"""What each benchmark has to reach, and the lines its result makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Bar", "Line", "lines"]

Results = dict[str, Any]

_SERVER = "llama-server"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a ratio must be."""

    limit: float
    at_least: bool

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"

    def met(self, ratio: float) -> bool:
        """Whether a ratio is good enough."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Args:
        ours, peer: with their units; the peer's is empty where nothing is compared.
        ratio: ours over the peer's, or what the bar is about.
        sound: False if something besides the ratio went wrong.
    """

    what: str
    ours: str
    peer: str
    ratio: float
    bar: Bar
    sound: bool = True

    @property
    def verdict(self) -> str:
        """In a word."""
        return "met" if self.sound and self.bar.met(self.ratio) else "missed"


def lines(results: Results) -> Iterator[Line]:
    """The lines of all benchmarks that ran, in the order of the bars."""
    for name, make in _MAKERS.items():
        if name in results:
            yield from make(results[name])


def _throughput(result: Results) -> Iterator[Line]:
    model = str(result["model"]).removesuffix(".gguf")
    for r in result["rows"]:
        what = f"Decoding, {_chats(r['sessions'])}, {model}"
        peer = f"{_tps(r['batched_bench_tps'])} (llama-batched-bench)"
        yield Line(what, _tps(r["ours_tps"]), peer, r["ratio"], Bar(0.97, True))


def _server(result: Results) -> Iterator[Line]:
    for r in result["rows"]:
        peer = f"{_tps(r['llama_server_tps'])} ({_SERVER})"
        what = f"Whole answers, {_chats(r['sessions'])}"
        yield Line(what, _tps(r["ours_tps"]), peer, r["ratio"], Bar(1.05, True))


def _latency(result: Results) -> Iterator[Line]:
    ours, peer = result["ours"], result["llama_server"]
    event = f"{result['prompt_tokens']:,} tokens arrive while {_chats(result['writers'])} write"
    pause = f"{peer['gap_ms']:,.0f} ms ({_SERVER})"
    yield Line(
        f"{event}: their longest pause",
        f"{ours['gap_ms']:,.0f} ms",
        pause,
        result["gap_ratio"],
        Bar(0.05, False),
    )
    wait = f"{peer['ttft_s']:.2f} s ({_SERVER})"
    what = "… and the wait for its own first token"
    yield Line(what, f"{ours['ttft_s']:.2f} s", wait, result["ttft_ratio"], Bar(1.5, False))


def _prefixes(result: Results) -> Iterator[Line]:
    chats, tokens = _chats(result["sessions"]), result["prompt_tokens"]
    what = f"{chats} with the same new {tokens:,}-token system prompt: until all have begun"
    peer = f"{result['llama_server_s']:.2f} s ({_SERVER})"
    yield Line(what, f"{result['ours_s']:.2f} s", peer, result["ratio"], Bar(0.25, False))
    share = result["candidates_ratio"]
    what = f"{result['candidates']} candidate answers to one prompt: prompt tokens read, of the prompt's own"
    yield Line(what, f"{share:.1%}", "", share, Bar(1.05, False))


def _turns(result: Results) -> Iterator[Line]:
    what = f"{_chats(result['chats'])} taking turns on a context that holds {result['held']}"
    whole = result["finished"] == result["answers"] and not result["truncated"]
    roomy = f"{_tps(result['roomy_tps'])} (ours with room for all)"
    yield Line(what, _tps(result["tight_tps"]), roomy, result["ratio"], Bar(0.7, True), sound=whole)


def _overhead(result: Results) -> Iterator[Line]:
    share = result["python_share"]
    what = f"Python's share of a step, {_chats(result['sessions'])}"
    yield Line(
        what, f"{share * result['step_ms']:.2f} of {result['step_ms']:.1f} ms", "", share, Bar(0.02, False)
    )


def _sampling(result: Results) -> Iterator[Line]:
    for r in result["rows"]:
        what = f"Choosing tokens, {r['rows']} rows of {r['vocabulary']:,}"
        peer = f"{r['llama_sampler_sample_ms']:.1f} ms (llama_sampler_sample)"
        yield Line(what, f"{r['ours_ms']:.1f} ms", peer, r["ratio"], Bar(0.6, False))


_MAKERS = {
    "throughput": _throughput,
    "throughput_gemma": _throughput,
    "server": _server,
    "latency": _latency,
    "prefixes": _prefixes,
    "turns": _turns,
    "overhead": _overhead,
    "sampling": _sampling,
}


def _chats(count: int) -> str:
    return "1 chat" if count == 1 else f"{count} chats"


def _tps(value: float) -> str:
    return f"{value:,.0f} tokens/s"
