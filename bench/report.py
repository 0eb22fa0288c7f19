"""The table of results: what each benchmark has to reach, and the lines its result makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.cli import BenchError, Result

__all__ = ["BEGIN", "END", "Line", "Target", "block", "lines", "replace_block", "table"]

BEGIN = "<!-- bench -->"
END = "<!-- /bench -->"

_SERVER = "llama-server"


@dataclass(frozen=True, slots=True)
class Target:
    """The limit a ratio must reach or stay below."""

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
        ours, peer: values with their units; the peer's is empty where nothing is compared.
        ratio: ours over the peer's, or the share that the target limits.
        sound: False if something besides the ratio went wrong.
    """

    what: str
    ours: str
    peer: str
    ratio: float
    target: Target
    sound: bool = True

    @property
    def verdict(self) -> str:
        """Either "met" or "missed"."""
        return "met" if self.sound and self.target.met(self.ratio) else "missed"


def lines(results: Result) -> Iterator[Line]:
    """The lines of all benchmarks that ran."""
    for name, make in _MAKERS.items():
        if name in results:
            yield from make(results[name])


def table(results: Result) -> Iterator[str]:
    """The lines as a Markdown table."""
    yield "| measured | ours | peer | ratio | target |"
    yield "|---|---:|---:|---:|---|"
    for line in lines(results):
        cells = (line.what, line.ours, line.peer, f"{line.ratio:.3f}", f"{line.target}, {line.verdict}")
        yield f"| {' | '.join(cells)} |"


def block(document: Result | None) -> str:
    """The text between the page's markers; None before anything was measured."""
    if document is None:
        return "Not measured yet: `make bench`."
    about = (
        f"Measured on {document['machine']} with the llama.cpp of llama-cpp-python"
        f" {document['versions']['llama-cpp-python']}, {document['date']}: medians of {document['rounds']}"
        " rounds, sides interleaved, ratios taken within a round."
    )
    return "\n".join([about, "", *table(document["results"])])


def replace_block(page: str, document: Result | None) -> str:
    """The page with a new table between its markers.

    Raises:
        BenchError: it has no markers.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"The page has no place for the table: {BEGIN} … {END}.")
    return f"{head}{BEGIN}\n{block(document)}\n{END}{tail}"


def _throughput(result: Result) -> Iterator[Line]:
    model = str(result["model"]).removesuffix(".gguf")
    for r in result["rows"]:
        what = f"Decoding, {_chats(r['sessions'])}, {model}"
        peer = f"{_tps(r['batched_bench_tps'])} (llama-batched-bench)"
        yield Line(what, _tps(r["ours_tps"]), peer, r["ratio"], Target(0.97, True))


def _server(result: Result) -> Iterator[Line]:
    for r in result["rows"]:
        peer = f"{_tps(r['llama_server_tps'])} ({_SERVER})"
        what = f"Whole answers, {_chats(r['sessions'])}"
        yield Line(what, _tps(r["ours_tps"]), peer, r["ratio"], Target(1.05, True))


def _latency(result: Result) -> Iterator[Line]:
    ours, peer = result["ours"], result["llama_server"]
    event = f"{result['prompt_tokens']:,}-token prompt arrives while {_chats(result['writers'])} stream"
    pause = f"{peer['gap_ms']:,.0f} ms ({_SERVER})"
    what = f"{event}: their longest pause"
    yield Line(what, f"{ours['gap_ms']:,.0f} ms", pause, result["gap_ratio"], Target(0.05, False))
    wait = f"{peer['ttft_s']:.2f} s ({_SERVER})"
    what = "… and its own time to first token"
    yield Line(what, f"{ours['ttft_s']:.2f} s", wait, result["ttft_ratio"], Target(1.5, False))


def _prefixes(result: Result) -> Iterator[Line]:
    chats, tokens = _chats(result["sessions"]), result["prompt_tokens"]
    what = f"{chats} with the same new {tokens:,}-token system prompt: until all have a first token"
    peer = f"{result['llama_server_s']:.2f} s ({_SERVER})"
    yield Line(what, f"{result['ours_s']:.2f} s", peer, result["ratio"], Target(0.25, False))
    share = result["candidates_ratio"]
    what = f"{result['candidates']} candidate answers to one prompt: tokens prefilled, as a share of it"
    yield Line(what, f"{share:.1%}", "", share, Target(1.05, False))


def _turns(result: Result) -> Iterator[Line]:
    what = f"{_chats(result['chats'])} taking turns on a context that holds {result['held']}"
    whole = result["finished"] == result["answers"] and not result["truncated"]
    roomy = f"{_tps(result['roomy_tps'])} (ours with room for all)"
    yield Line(what, _tps(result["tight_tps"]), roomy, result["ratio"], Target(0.7, True), sound=whole)


def _overhead(result: Result) -> Iterator[Line]:
    share = result["python_share"]
    what = f"Python's share of a step, {_chats(result['sessions'])}"
    spent = f"{share * result['step_ms']:.2f} of {result['step_ms']:.1f} ms"
    yield Line(what, spent, "", share, Target(0.02, False))


def _sampling(result: Result) -> Iterator[Line]:
    for r in result["rows"]:
        what = f"Sampling, {r['rows']} rows of {r['vocabulary']:,} logits"
        peer = f"{r['llama_sampler_sample_ms']:.1f} ms (llama_sampler_sample)"
        yield Line(what, f"{r['ours_ms']:.1f} ms", peer, r["ratio"], Target(0.6, False))


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
