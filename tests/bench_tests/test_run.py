"""The benchmarks' arithmetic, tables and command lines, without llama.cpp's own tools."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from bench import cli, report, rounds, run
from bench.cli import BenchError
from bench.engine import (
    latency,
    overhead,
    passes,
    prefixes,
    server,
    speculation,
    step,
    throughput,
    turns,
    warm,
)
from bench.engine.sides import gather, text_of
from bench.ratios import Limits, Ratio
from engine import EngineStats, FinishReason

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    path
    for path in sorted((ROOT / "bench").rglob("*.py"))
    if path.stem != "make_model" and ".peers" not in path.parts
    if "def main(" in path.read_text(encoding="utf-8")
]

NEED_PEERS = ["throughput", "server", "speculation", "latency", "prefixes"]
SAMPLING_KEYS = ("rows", "vocabulary", "ours_ms", "llama_sampler_sample_ms")
SPEEDS = {
    "batched_bench": [200.0, 400.0, 100.0],
    "ours": [160.0, 400.0, 90.0],
    "bare": [200.0, 400.0, 100.0],
}


STEPS = {
    "bare": [step.Step(9.0, 8.5, 0.5, 0.0)] * 3,
    "ours": [
        step.Step(10.0, 9.0, 0.75, 0.25),
        step.Step(9.5, 8.5, 0.75, 0.25),
        step.Step(11.0, 10.0, 0.75, 0.25),
    ],
    "asleep": [step.Step(9.5, 8.5, 0.75, 0.25)] * 3,
}


def forward(begin: float, inside: float, decodes: int) -> overhead.Forward:
    end = begin + inside
    return overhead.Forward(begin, begin_cpu=begin, end_cpu=end, decode=inside, sample=0.0, decodes=decodes)


def some_results() -> dict[str, Any]:
    """A result of every benchmark, made by the benchmarks' own arithmetic."""
    model = {"model": "tiny.gguf"}
    arrivals = {
        name: [latency.Arrival(longest, 0.01, 0.02, 1.0)]
        for name, longest in (("ours", 0.1), ("llama_server", 4.0), ("llama_server_512", 2.0))
    }
    arrived = {"prompt_tokens": 1200, "writers": 4} | latency.summary(arrivals)
    speed = server.Speed(100.0, 120.0)
    waves = [[speculation.Wave(100, 1.0, True)]]
    drafted = speculation.summary({"ours": waves, "llama_server": waves})
    ended = Counter[FinishReason | None]({FinishReason.LENGTH: 300})
    again = turns.Run(80.0, ended, EngineStats(restored=200))
    roomy = turns.Run(100.0, ended, EngineStats())
    shared = prefixes.summary({"ours": [5.0], "llama_server": [20.0]}, 4, [1.01])
    decoded = [throughput.row(sessions, SPEEDS) for sessions in (1, 4)]
    return {
        "throughput": model | {"rows": throughput.with_further(decoded)},
        "server": {
            "rows": [server.row(1, {side: [speed] for side in ("ours", "llama_server", "batched_bench")})]
        },
        "speculation": {
            "rows": [{"prompts": name, "sessions": 1} | drafted for name in ("mix", "rewriting")]
        },
        "latency": arrived | {"focused": False},
        "latency_focused": arrived | {"focused": True},
        "warm": {"cached_tokens": 1000, "new_tokens": 40} | warm.summary({"ours": [1.1], "alone": [1.0]}),
        "prefixes": {"sessions": 8, "prompt_tokens": 1000} | shared,
        "turns": {"chats": 100, "held": 8} | turns.summary({"tight": [again], "roomy": [roomy]}),
        "step": {"rows": [step.row(1, STEPS)]},
        "passes": {"rows": [passes.row(400, 7, [[9.0, 30.0], [10.0, 35.0]], 1)]},
        "overhead": {"sessions": 32, "step_ms": 100.0} | Ratio.of([0.03]).entry("python_share"),
        "sampling": {"rows": [dict.fromkeys(SAMPLING_KEYS, 1) | Ratio.of([1.0]).entry()]},
    }


def some_document() -> dict[str, Any]:
    return run.document(some_results()) | {"versions": {"llama-cpp-python": "1.2.3"}}


def test_every_round_begins_with_another_side() -> None:
    order: list[str] = []

    async def side(name: str, number: int) -> int:
        order.append(f"{name}{number}")
        return number

    sides = {name: (lambda number, name=name: side(name, number)) for name in "ab"}
    results = asyncio.run(rounds.interleave(Limits(3), sides))
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
    speeds = {
        "batched_bench_unified": [20.0, 20.0, 20.0],
        "ours_unified": [10.0, 20.0, 30.0],
        "batched_bench_split": [10.0, 40.0, 30.0],
        "ours_split": [9.0, 19.0, 31.0],
    }
    assert throughput.better_layouts(speeds) == {"ours": "unified", "batched_bench": "split"}


def test_a_row_tells_what_a_step_takes_beyond_the_bare_loop() -> None:
    one = throughput.row(1, SPEEDS)
    assert (one["ours_tps"], one["batched_bench_tps"], one["bare_tps"]) == (160.0, 200.0, 200.0)
    assert (one["ratio"], one["spread"], one["rounds"]) == (0.9, [0.8, 1.0], 3)
    assert (one["bare_ratio"], one["bare_spread"]) == (1.0, [1.0, 1.0])
    # Steps of 6.25, 2.5 and 11.11 ms, beside the bare loop's of 5, 2.5 and 10.
    assert (one["step_beyond_ms"], one["step_beyond_spread"]) == (1.1111, [0.0, 1.25])


def test_further_chats_are_told_beside_one_chat() -> None:
    one, four = throughput.with_further([throughput.row(n, SPEEDS) for n in (1, 4)])
    assert "further_ms" not in one
    assert four["step_beyond_ms"] == 4.4444
    assert four["further_ms"] == 1.1111
    assert four["further_spread"] == [round(-1.1111 / 3, 4), round((5 - 1.1111) / 3, 4)]
    assert throughput.with_further([throughput.row(4, SPEEDS)]) == [throughput.row(4, SPEEDS)]


def test_the_bar_of_decoding_is_the_bare_loops_ratio() -> None:
    one, beyond, _, further = report.lines({"throughput": some_results()["throughput"]})
    assert one.cells[3:] == ("0.900 (0.800 to 1.000)", "3", "≥ 0.995, missed")
    assert beyond.cells[3:] == ("1.111 (0.000 to 1.250) ms", "3", "≤ 0.15 ms, missed")
    assert further.cells[3:] == ("1.111 (-0.370 to 1.296) ms", "3", "≤ 0.03 ms, missed")


@pytest.mark.parametrize(
    ("said", "looping"),
    [
        ("the sea is wide and the sea is deep", False),
        ("no no you must not", False),
        ("no no no", True),
        ("and so on and so on and so on it goes", True),
        ("once upon a time there was once upon a time there was", True),
        ("once upon a time once upon a time", False),
        ("", False),
    ],
)
def test_an_answer_loops_if_it_says_the_same_again(said: str, looping: bool) -> None:
    assert speculation.loops(said.split()) is looping


def test_the_copied_share_is_of_runs_in_the_texts_order() -> None:
    text = "one two three four five six seven eight nine ten"
    assert speculation.copied_share("one two three four five", text) == 1.0
    assert speculation.copied_share("Sure: one two three four", text) == 0.8
    assert speculation.copied_share("two one four three six five", text) == 0.0
    assert speculation.copied_share("one two three one two three", text) == 0.5
    assert speculation.copied_share("", text) == 0.0
    assert speculation.sound("Sure: one two three four", text)
    assert not speculation.sound("Sure: one two three", text)
    assert speculation.sound("Sure: one two three", "")


def test_what_is_not_sound_counts_on_neither_side() -> None:
    ours = [
        speculation.Wave(100, 1.0, True),
        speculation.Wave(900, 1.0, False),
        speculation.Wave(100, 3.0, True),
    ]
    peer = [
        speculation.Wave(100, 2.0, True),
        speculation.Wave(100, 1.0, True),
        speculation.Wave(100, 2.0, True),
    ]
    assert speculation.speeds(ours, peer) == (50.0, 50.0)
    assert speculation.summary({"ours": [ours], "llama_server": [peer]})["kept_share"] == 0.667
    with pytest.raises(BenchError, match="All answers of a round loop"):
        speculation.speeds(ours[1:2], peer[1:2])


def test_every_set_of_tasks_can_be_read() -> None:
    for prompts in ("mix", "rewriting"):
        tasks = speculation.read_tasks(prompts, 96, lambda text: len(text.split()))
        assert len(tasks) >= 6
        assert all(bool(task.copied) == (prompts == "rewriting") for task in tasks)
        assert all(task.copied in task.messages[-1].content and task.tokens > 30 for task in tasks)
        assert not any(speculation.loops(task.copied.split()) for task in tasks)


def test_pythons_share_is_what_is_between_the_forwards() -> None:
    prefill, *decode = [forward(0.0, 5.0, 0), *(forward(10.0 + i, 0.75, 2) for i in range(5))]
    assert overhead.python_share([prefill, *decode], 2) == (0.25, 1.0)
    assert overhead.cpu_per_step([prefill, *decode], 2) == 0.25
    with pytest.raises(BenchError, match="generate more tokens"):
        overhead.python_share([prefill, decode[0]], 2)


def test_a_step_is_cut_into_its_parts() -> None:
    passes = [overhead.Forward(float(i), 0.0, 0.0, decode=0.5, sample=0.25, decodes=2) for i in range(3)]
    assert step.mean_step(passes, 2) == step.Step(1000.0, 500.0, 250.0, 250.0)
    row = step.row(1, STEPS)
    assert (row["bare_forward_ms"], row["ours_forward_ms"], row["ours_forward_spread"]) == (
        8.5,
        0.5,
        [0.0, 1.5],
    )
    assert (row["ours_rest_ms"], row["asleep_step_ms"], row["awake_ms"]) == (0.25, 0.5, 0.5)


def test_a_line_that_explains_has_no_target() -> None:
    forward_pass, *_, awake = report.lines({"step": some_results()["step"]})
    assert forward_pass.cells == (
        "A step beyond the bare loop's, 1 chat: the forward pass",
        "9.00 ms",
        "8.50 ms (bare loop)",
        "0.500 (0.000 to 1.500) ms",
        "3",
        "",
    )
    assert awake.verdict == ""


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
    assert {line.count("|") for line in table} == {7}
    share = "0.030 (0.030 to 0.030) | 1 | ≤ 0.02, missed"
    assert f"| Python's share of a step, 32 chats | 3.00 of 100.0 ms |  | {share} |" in table


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
    assert os.uname().nodename not in json.dumps(run.document({}))


def test_results_of_benchmarks_that_did_not_run_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    run.keep(out, run.document({"server": 1, "turns": 1}))
    run.keep(out, run.document({"turns": 2}))
    assert json.loads(out.read_text())["results"] == {"server": 1, "turns": 2}


def test_a_recorded_run_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\n{report.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(run, "PAGE", page)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results.json")
    for name, result in some_results().items():  # as `run_all` does, one after the other
        run.keep(run.RESULTS, some_document() | {"results": {name: result}})
    recorded = json.loads(run.RESULTS.read_text(encoding="utf-8"))
    written = page.read_text(encoding="utf-8")
    assert report.block(recorded) in written
    assert len(list(report.lines(recorded["results"]))) == len(list(report.lines(some_results())))
    for what in (
        "with speculation, rewriting texts, 1 chat",
        "warm chat, 40 new tokens behind 1,000",
        "is on screen",
    ):
        assert what in written


def test_only_a_full_run_is_kept() -> None:
    assert run.parse([]).out == run.RESULTS
    assert run.parse(["--only", "turns,server"]).out == run.RESULTS
    assert run.parse(["--quick"]).out is None
    assert run.parse(["--model", "other.gguf"]).out is None
    assert run.parse(["--model", "other.gguf", "--out", "x.json"]).out == Path("x.json")
    with pytest.raises(SystemExit):
        run.parse(["--only", "nonsense"])


def test_options_reach_the_benchmarks() -> None:
    given = ["--rounds", "7", "--minutes", "2.5", "--sessions", "1,8", "--model", "m.gguf", "--peers", "here"]
    options = run.parse(given)
    command = run.arguments("throughput", options)
    assert command[1].endswith("bench/engine/throughput.py")
    assert all(option in command for option in given)
    assert "m.gguf" not in run.arguments("throughput_gemma", options)
    assert "--quick" in run.arguments("turns", run.parse(["--quick"]))
    assert "--focused" in run.arguments("latency_focused", options)
    assert cli.limits(options) == Limits(7, 150)
    assert cli.limits(run.parse(["--quick"])).rounds == 1


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
