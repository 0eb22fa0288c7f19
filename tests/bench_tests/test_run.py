"""The benchmarks' arithmetic, tables and command lines, without llama.cpp's own tools."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from bench import cli, report, rounds, run
from bench.cli import BenchError
from bench.engine import latency, overhead, server, throughput, turns
from bench.engine.peers import LlamaServer
from bench.engine.sides import Answer, gather, text_of
from engine import ChatMessage, EngineStats, FinishReason

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    path
    for path in sorted((ROOT / "bench").rglob("*.py"))
    if "def main(" in path.read_text(encoding="utf-8") and path.stem != "make_model"
]

NEED_PEERS = ["throughput", "server", "latency", "prefixes"]
SAMPLING_KEYS = ("rows", "vocabulary", "ours_ms", "llama_sampler_sample_ms", "ratio")
TWO_SPEEDS = {
    "batched_bench_unified": [20.0, 20.0, 20.0],
    "ours_unified": [10.0, 20.0, 30.0],
    "batched_bench_split": [10.0, 40.0, 30.0],
    "ours_split": [9.0, 19.0, 31.0],
}


def setup_of(peers: Path) -> cli.Setup:
    return cli.Setup(model=Path("any.gguf"), peers=peers, rounds=1, threads=1, gpu_layers=0)


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o755)


def forward(begin: float, inside: float, decodes: int) -> overhead.Forward:
    return overhead.Forward(begin, begin_cpu=begin, end_cpu=begin + inside, inside=inside, decodes=decodes)


def some_results() -> dict[str, Any]:
    """A result of every benchmark, made by the benchmarks' own arithmetic."""
    model = {"model": "tiny.gguf"}
    arrivals = {
        name: [latency.Arrival(longest, 0.01, 0.02, 1.0)]
        for name, longest in (("ours", 0.1), ("llama_server", 4.0), ("llama_server_512", 2.0))
    }
    speed = server.Speed(100.0, 120.0)
    ended = Counter[FinishReason | None]({FinishReason.LENGTH: 300})
    again = turns.Run(80.0, ended, EngineStats(restored=200))
    roomy = turns.Run(100.0, ended, EngineStats())
    return {
        "throughput": model | {"rows": [throughput.row(4, TWO_SPEEDS)]},
        "server": {"rows": [server.row(1, {"ours": [speed], "llama_server": [speed]})]},
        "latency": {"prompt_tokens": 1200, "writers": 4} | latency.summary(arrivals),
        "prefixes": {
            "sessions": 8,
            "prompt_tokens": 1000,
            "ours_s": 5.0,
            "llama_server_s": 20.0,
            "ratio": 0.25,
            "candidates": 4,
            "candidates_ratio": 1.01,
        },
        "turns": {"chats": 100, "held": 8} | turns.summary({"tight": [again], "roomy": [roomy]}),
        "overhead": {"sessions": 32, "python_share": 0.03, "step_ms": 100.0},
        "sampling": {"rows": [dict.fromkeys(SAMPLING_KEYS, 1)]},
    }


def some_document() -> dict[str, Any]:
    return run.document(some_results(), 5) | {"versions": {"llama-cpp-python": "1.2.3"}}


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was ten times slower in the second round: medians first would give 10 / 10.
    assert rounds.ratio([10.0, 1.0, 12.0], [10.0, 2.0, 6.0]) == 1.0
    assert rounds.ratio([10.0, 1.0, 1.0], [5.0, 10.0, 2.0]) == 0.5


def test_every_round_begins_with_another_side() -> None:
    order: list[str] = []

    async def side(name: str, number: int) -> int:
        order.append(f"{name}{number}")
        return number

    sides = {name: (lambda number, name=name: side(name, number)) for name in "ab"}
    results = asyncio.run(rounds.interleave(3, sides))
    assert order == ["a0", "b0", "b1", "a1", "a2", "b2"]
    assert results == {"a": [0, 1, 2], "b": [0, 1, 2]}


def test_speed_counts_only_while_all_decode() -> None:
    first = [(1.0, 1), (2.0, 5), (3.0, 5), (9.0, 100)]
    second = [(2.0, 1), (3.0, 7), (4.0, 7)]
    # From 2 (the later first token) to 4 (the earlier end): 5 + 7 + 7 tokens.
    assert rounds.overlap_rate([first, second]) == 19 / 2
    with pytest.raises(ValueError, match="did not overlap"):
        rounds.overlap_rate([[(1.0, 1), (2.0, 1)], [(2.0, 1), (3.0, 1)]])


def test_a_gap_counts_if_it_reaches_into_the_window() -> None:
    marks = [(0.0, 1), (1.0, 1), (4.0, 1), (5.0, 1), (9.0, 1)]
    assert rounds.gaps_within(marks, 2.0, 4.5) == [3.0, 1.0]


def test_the_better_layout_of_each_side_counts() -> None:
    row = throughput.row(4, TWO_SPEEDS)
    assert (row["ours_layout"], row["batched_bench_layout"]) == ("unified", "split")
    assert (row["ours_tps"], row["batched_bench_tps"], row["ratio"]) == (20.0, 30.0, 1.0)
    assert (row["ours_split_tps"], row["batched_bench_unified_tps"]) == (19.0, 20.0)


def test_pythons_share_is_what_is_between_the_forwards() -> None:
    prefill, *decode = [forward(0.0, 5.0, 0), *(forward(10.0 + i, 0.75, 2) for i in range(5))]
    assert overhead.python_share([prefill, *decode], 2) == (0.25, 1.0)
    assert overhead.cpu_per_step([prefill, *decode], 2) == 0.25
    with pytest.raises(BenchError, match="generate more tokens"):
        overhead.python_share([prefill, decode[0]], 2)


def test_a_roomy_context_that_moves_chats_out_is_an_error() -> None:
    moved = turns.Run(1.0, Counter(), EngineStats(restored=1))
    with pytest.raises(BenchError, match="should hold all"):
        turns.summary({"tight": [moved], "roomy": [moved]})


def test_a_cut_answer_misses_the_target_whatever_the_speed() -> None:
    results = {"turns": some_results()["turns"]}
    assert [line.verdict for line in report.lines(results)] == ["met"]
    results["turns"]["finished"] -= 1
    assert [line.verdict for line in report.lines(results)] == ["missed"]


@pytest.mark.parametrize(
    ("target", "ratio", "met"),
    [
        (report.Target(0.97, True), 0.97, True),
        (report.Target(0.97, True), 0.96, False),
        (report.Target(0.05, False), 0.05, True),
        (report.Target(0.05, False), 0.06, False),
    ],
)
def test_targets(target: report.Target, ratio: float, met: bool) -> None:
    assert target.met(ratio) is met


def test_every_benchmark_has_lines_in_the_table() -> None:
    names = set(run.JOBS) - {"throughput_gemma"}  # the same lines as throughput
    results = some_results()
    assert names == set(results)
    for name in names:
        assert list(report.lines({name: results[name]})), name
    table = list(report.table(results))
    assert len(table) == 2 + len(list(report.lines(results)))
    assert {line.count("|") for line in table} == {6}
    assert "| Python's share of a step, 32 chats | 3.00 of 100.0 ms |  | 0.030 | ≤ 0.02, missed |" in table


def test_the_table_goes_between_the_markers_only() -> None:
    page = f"before\n{report.BEGIN}\nobsolete\n{report.END}\nafter\n"
    fresh = report.replace_block(page, some_document())
    head, _, rest = fresh.partition(report.BEGIN)
    inside, _, tail = rest.partition(report.END)
    assert (head, tail) == ("before\n", "\nafter\n")
    assert "obsolete" not in inside
    assert "llama-cpp-python 1.2.3" in inside
    assert report.replace_block(fresh, some_document()) == fresh
    with pytest.raises(BenchError, match="no place"):
        report.replace_block("a page without markers", some_document())


def test_the_page_says_what_was_measured() -> None:
    document = json.loads(run.RESULTS.read_text(encoding="utf-8")) if run.RESULTS.is_file() else None
    page = run.PAGE.read_text(encoding="utf-8")
    assert report.replace_block(page, document) == page


def test_the_results_name_no_host() -> None:
    assert os.uname().nodename not in json.dumps(run.document({}, 5))


def test_results_of_benchmarks_that_did_not_run_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    run.keep(out, run.document({"server": 1, "turns": 1}, 5))
    run.keep(out, run.document({"turns": 2}, 5))
    assert json.loads(out.read_text())["results"] == {"server": 1, "turns": 2}


def test_only_a_full_run_is_kept() -> None:
    assert run.parse([]).out == run.RESULTS
    assert run.parse(["--only", "turns,server"]).out == run.RESULTS
    assert run.parse(["--quick"]).out is None
    assert run.parse(["--model", "other.gguf"]).out is None
    assert run.parse(["--model", "other.gguf", "--out", "x.json"]).out == Path("x.json")
    with pytest.raises(SystemExit):
        run.parse(["--only", "nonsense"])


def test_options_reach_the_benchmarks() -> None:
    options = run.parse(["--rounds", "7", "--sessions", "1,8", "--model", "m.gguf", "--peers", "here"])
    command = run.arguments("throughput", options)
    assert command[1].endswith("bench/engine/throughput.py")
    for pair in (["--rounds", "7"], ["--sessions", "1,8"], ["--model", "m.gguf"], ["--peers", "here"]):
        assert " ".join(pair) in " ".join(command)
    assert "m.gguf" not in run.arguments("throughput_gemma", options)
    assert run.arguments("turns", run.parse(["--quick"]))[-4:-2] == ["--rounds", "1"]


def test_counts() -> None:
    assert cli.counts("1,4,8") == (1, 4, 8)
    with pytest.raises(ValueError, match="x"):
        cli.counts("1,x")


def test_a_text_has_the_length_asked_for() -> None:
    def count(text: str) -> int:
        return len(text)  # a token per character

    assert 290 <= count(text_of(300, count, "a")) <= 300
    assert text_of(300, count, "a") == text_of(300, count, "a")
    assert text_of(300, count, "a") != text_of(300, count, "b")


async def test_when_one_fails_the_others_end() -> None:
    ended = False

    async def endless() -> None:
        nonlocal ended
        try:
            await asyncio.sleep(60)
        finally:
            ended = True

    async def failing() -> None:
        raise BenchError("no")

    with pytest.raises(BenchError, match="no"):
        await gather([endless(), failing()])
    assert ended


def outcomes(commands: Iterable[list[str | Path]], folder: Path) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of scripts that run at the same time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, *command], env=environment, cwd=folder, stdout=PIPE, stderr=PIPE, text=True
        )
        for command in commands
    ]
    read = [process.communicate(timeout=120) for process in running]
    return [(process.returncode, *texts) for process, texts in zip(running, read, strict=True)]


def test_every_script_runs_by_itself(tmp_path: Path) -> None:
    done = outcomes([[script, "--help"] for script in SCRIPTS], tmp_path)
    failed = {
        script.stem: stderr
        for script, (code, stdout, stderr) in zip(SCRIPTS, done, strict=True)
        if code or "--json" not in stdout
    }
    assert len(SCRIPTS) > 10
    assert not failed


def test_without_the_peers_one_line_tells(tmp_path: Path) -> None:
    folder = ROOT / "bench"
    need_peers = [folder / "run.py", *(folder / "engine" / f"{name}.py" for name in NEED_PEERS)]
    for code, stdout, stderr in outcomes([[s, "--peers", tmp_path, "--json"] for s in need_peers], tmp_path):
        assert (code, stdout) == (1, "")
        (line,) = stderr.splitlines()
        assert "make peers" in line


async def test_a_server_that_dies_is_quoted(tmp_path: Path) -> None:
    tool(tmp_path, "llama-server", "import sys; sys.exit('first\\nthe reason why')")
    with pytest.raises(BenchError, match=r"exit 1\): first \| the reason why"):
        async with LlamaServer(setup_of(tmp_path), slots=1, context=512):
            pass


FAKE_SERVER = """
import http.server, json, os, pathlib, sys

pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
port = int(sys.argv[sys.argv.index("--port") + 1])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, parts):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\\r\\n\\r\\n")
        self.close_connection = True

    def do_GET(self):
        self.reply([b'{"status":"ok"}'])

    def do_POST(self):
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "messages" in wish:
            return self.reply([json.dumps({"prompt": "rendered"}).encode()])
        event = 'data: {"tokens_predicted": %d, "tokens_evaluated": 7}\\n\\n'
        whole = "".join(event % count for count in (1, 2, 4, 4)).encode()
        self.reply([b":\\n\\n" + whole[:10], whole[10:70], whole[70:]])


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


async def read(server: LlamaServer, tokens: int) -> Answer:
    answer = Answer()
    await server.ask(await server.prepare([ChatMessage("user", "hi")]), tokens, answer)
    return answer


async def test_a_servers_answer_is_counted_by_its_events(tmp_path: Path) -> None:
    tool(tmp_path, "llama-server", FAKE_SERVER)
    async with LlamaServer(setup_of(tmp_path), slots=1, context=512) as peer:
        answer = await read(peer, 4)
        assert [count for _, count in answer.marks] == [1, 1, 2]
        assert answer.prompt_tokens == 7
        assert answer.ttft_s > 0
        with pytest.raises(BenchError, match="4 tokens instead of 9"):
            await read(peer, 9)
    assert not alive(int((tmp_path / "pid").read_text()))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_a_benchmark_stops_its_peer(number: int, code: int, tmp_path: Path) -> None:
    tool(tmp_path, "llama-batched-bench", NOTED_SLEEP)
    script = "import sys; from bench_tests.test_run import stop_me; stop_me(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=environment)
    pid = tmp_path / "pid"
    while not pid.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    assert not alive(int(pid.read_text()))


NOTED_SLEEP = """
import os, pathlib, time
pid = pathlib.Path(__file__).with_name("pid")
pid.with_name("part").write_text(str(os.getpid()))
pid.with_name("part").rename(pid)
time.sleep(60)
"""


def stop_me(peers: str) -> None:
    """Wait for a peer that never ends, as a benchmark does."""
    from bench.engine.peers import batched_bench

    async def measure(setup: cli.Setup) -> cli.Result:
        sizes: dict[str, int] = {"sessions": 1, "prompt_tokens": 1, "gen_tokens": 1, "context": 512}
        return {"speed": await batched_bench(setup, unified=True, **sizes)}

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    arguments: Sequence[str] = ["--peers", peers, "--model", __file__]
    cli.run(cli.parser("x").parse_args(arguments), measure, lambda result: [str(result)])
