"""The table of results: what each benchmark has to reach, and the lines its result makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.cli import BenchError, Result
from bench.ratios import Ratio

__all__ = ["BEGIN", "END", "Line", "Target", "block", "lines", "replace_block", "table"]

BEGIN = "<!-- bench -->"
END = "<!-- /bench -->"

_SERVER = "llama-server"
_BARE_ALLOWANCE = 0.005  # of the bare loop's ratio
_BEYOND_MS = 0.15  # what a step may take longer than the bare loop's: with one chat,
_FURTHER_MS = 0.03  # and for each further one
_WHOLE_ANSWERS = {1: 1.0, 4: 1.03, 8: 1.06, 16: 1.08}  # by chats, beside llama-server


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
        ratio: ours over the peer's, or the share or difference that the target limits.
        target: None where a line only explains others.
        unit: of a difference.
        sound: False if something besides the ratio went wrong.
    """

    what: str
    ours: str
    peer: str
    ratio: Ratio
    target: Target | None = None
    unit: str = ""
    sound: bool = True

    @property
    def verdict(self) -> str:
        """Either "met" or "missed"; nothing without a target."""
        if self.target is None:
            return ""
        return "met" if self.sound and self.target.met(self.ratio.median) else "missed"

    @property
    def cells(self) -> tuple[str, ...]:
        """What stands in the table's columns."""
        target = f"{self.target}{self.unit}, {self.verdict}" if self.target else ""
        return self.what, self.ours, self.peer, f"{self.ratio}{self.unit}", str(self.ratio.rounds), target


def lines(results: Result) -> Iterator[Line]:
    """The lines of all benchmarks that ran."""
    for name, make in _MAKERS.items():
        if name in results:
            yield from make(results[name])


def table(results: Result) -> Iterator[str]:
    """The lines as a Markdown table."""
    yield "| measured | ours | peer | ratio | rounds | target |"
    yield "|---|---:|---:|---:|---:|---|"
    for line in lines(results):
        yield f"| {' | '.join(line.cells)} |"


def block(document: Result | None) -> str:
    """The text between the page's markers; None before anything was measured."""
    if document is None:
        return "Not measured yet: `make bench`."
    about = (
        f"Measured on {document['machine']} with the llama.cpp of llama-cpp-python"
        f" {document['versions']['llama-cpp-python']}, {document['date']}. A ratio is the median of the"
        " rounds' ratios; in brackets its interval of about 95%."
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
        bar = round(r["bare_ratio"] - _BARE_ALLOWANCE, 4)
        yield Line(what, _tps(r["ours_tps"]), peer, Ratio.read(r), Target(bar, True))
        loop = f"{_tps(r['bare_tps'])} (bare loop: {Ratio.read(r, 'bare_ratio')})"
        if r["sessions"] == 1 or "further_ms" not in r:
            beyond, limit = Ratio.read(r, "step_beyond_ms"), _BEYOND_MS + _FURTHER_MS * (r["sessions"] - 1)
            yield Line("… a step beyond a bare loop's", "", loop, beyond, Target(limit, False), " ms")
        else:
            further = Ratio.read(r, "further_ms")
            what = "… a step beyond a bare loop's, each further chat"
            yield Line(what, "", loop, further, Target(_FURTHER_MS, False), " ms")


def _server(result: Result) -> Iterator[Line]:
    for r in result["rows"]:
        peer = f"{_tps(r['llama_server_tps'])} ({_SERVER})"
        what = f"Whole answers, {_chats(r['sessions'])}"
        yield Line(
            what,
            _tps(r["ours_tps"]),
            peer,
            Ratio.read(r),
            Target(_WHOLE_ANSWERS.get(r["sessions"], 1.0), True),
        )
        alone = f"{_tps(r['batched_bench_decode_tps'])} (llama-batched-bench)"
        peer = f"{_tps(r['llama_server_decode_tps'])} ({_SERVER})"
        what = "… while all decode: llama.cpp alone, without sampling"
        yield Line(what, alone, peer, Ratio.read(r, "peak_ratio_decode"))


def _speculation(result: Result) -> Iterator[Line]:
    kinds = {
        "mix": ("on a mix of prompts", Target(1.0, True)),
        "rewriting": ("rewriting texts", Target(1.4, True)),
    }
    for r in result["rows"]:
        kind, target = kinds[r["prompts"]]
        what = f"Whole answers with speculation, {kind}, {_chats(r['sessions'])}"
        peer = f"{_tps(r['llama_server_tps'])} ({_SERVER})"
        yield Line(what, _tps(r["ours_tps"]), peer, Ratio.read(r), target)


def _latency(result: Result) -> Iterator[Line]:
    ours, peer = result["ours"], result["llama_server"]
    event = f"{result['prompt_tokens']:,}-token prompt arrives while {_chats(result['writers'])} stream"
    waits = f"{ours['ttft_s']:.2f} s", f"{peer['ttft_s']:.2f} s ({_SERVER})"
    first = Ratio.read(result, "ttft_ratio")
    if result["focused"]:
        what = f"{event}, and is on screen: its own time to first token"
        yield Line(what, *waits, first, Target(1.1, False))
        return
    pauses = f"{ours['gap_ms']:,.0f} ms", f"{peer['gap_ms']:,.0f} ms ({_SERVER})"
    gap = Ratio.read(result, "gap_ratio")
    yield Line(f"{event}: their longest pause", *pauses, gap, Target(0.05, False))
    yield Line("… and its own time to first token", *waits, first, Target(1.3, False))


def _warm(result: Result) -> Iterator[Line]:
    what = f"First token of a warm chat, {result['new_tokens']} new tokens behind {result['cached_tokens']:,}"
    peer = f"{result['alone_ms']:,.1f} ms (one forward pass)"
    yield Line(what, f"{result['ours_ms']:,.1f} ms", peer, Ratio.read(result), Target(1.15, False))


def _prefixes(result: Result) -> Iterator[Line]:
    chats, tokens = _chats(result["sessions"]), result["prompt_tokens"]
    what = f"{chats} with the same new {tokens:,}-token system prompt: until all have a first token"
    peer = f"{result['llama_server_s']:.2f} s ({_SERVER})"
    yield Line(what, f"{result['ours_s']:.2f} s", peer, Ratio.read(result), Target(0.145, False))
    share = Ratio.read(result, "candidates_ratio")
    what = f"{result['candidates']} candidate answers to one prompt: tokens prefilled, as a share of it"
    yield Line(what, f"{share.median:.1%}", "", share, Target(1.05, False))


def _turns(result: Result) -> Iterator[Line]:
    what = f"{_chats(result['chats'])} taking turns on a context that holds {result['held']}"
    whole = result["finished"] == result["answers"] and not result["truncated"]
    roomy = f"{_tps(result['roomy_tps'])} (ours with room for all)"
    yield Line(what, _tps(result["tight_tps"]), roomy, Ratio.read(result), Target(0.7, True), sound=whole)


def _overhead(result: Result) -> Iterator[Line]:
    share = Ratio.read(result, "python_share")
    what = f"Python's share of a step, {_chats(result['sessions'])}"
    spent = f"{share.median * result['step_ms']:.2f} of {result['step_ms']:.1f} ms"
    yield Line(what, spent, "", share, Target(0.02, False))


def _step(result: Result) -> Iterator[Line]:
    parts = {"forward": "the forward pass", "sample": "sampling", "rest": "our Python between them"}
    for r in result["rows"]:
        what = f"A step beyond the bare loop's, {_chats(r['sessions'])}: "
        for part, name in parts.items():
            loop, beyond = r[f"bare_{part}_ms"], Ratio.read(r, f"ours_{part}_ms")
            ours = f"{loop + beyond.median:.2f} ms"
            yield Line(what + name, ours, f"{loop:.2f} ms (bare loop)", beyond, unit=" ms")
            what = "… "
        yield Line("… of all that, for readers that are awake", "", "", Ratio.read(r, "awake_ms"), unit=" ms")


def _passes(result: Result) -> Iterator[Line]:
    for r in result["rows"]:
        what = f"A forward pass of {r['tokens']} tokens behind {r['cached_tokens']:,}, nothing around it"
        one = f"{r['one_ms']:.1f} ms (of one token)"
        yield Line(what, f"{r['pass_ms']:.1f} ms", one, Ratio.read(r))


def _sampling(result: Result) -> Iterator[Line]:
    for r in result["rows"]:
        what = f"Sampling, {r['rows']} rows of {r['vocabulary']:,} logits"
        peer = f"{r['llama_sampler_sample_ms']:.1f} ms (llama_sampler_sample)"
        yield Line(what, f"{r['ours_ms']:.1f} ms", peer, Ratio.read(r), Target(0.6, False))


_MAKERS = {
    "throughput": _throughput,
    "throughput_gemma": _throughput,
    "server": _server,
    "speculation": _speculation,
    "latency": _latency,
    "latency_focused": _latency,
    "warm": _warm,
    "prefixes": _prefixes,
    "turns": _turns,
    "overhead": _overhead,
    "step": _step,
    "passes": _passes,
    "sampling": _sampling,
}


def _chats(count: int) -> str:
    return "1 chat" if count == 1 else f"{count} chats"


def _tps(value: float) -> str:
    return f"{value:,.0f} tokens/s"
