"""Run the engine benchmarks, print a table of ratios, and record the numbers.

Results go to bench/results.json, and docs/benchmarks.md is written from them. A run with --quick, or on
another model, leaves both alone unless --out names a file.

    python bench/run.py
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

# Run as a script, this folder comes first on the path, where bench/engine would shadow the package engine.
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.cli import PEERS, BenchError, add_limits, counts, note
from bench.machine import machine, versions
from bench.report import lines, replace_block, table

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
PAGE = FOLDER.parent / "docs" / "benchmarks.md"

JOBS = {
    "throughput": ("throughput.py",),
    "throughput_gemma": ("throughput.py", "--model", "gemma"),
    "server": ("server.py",),
    "speculation": ("speculation.py",),
    "latency": ("latency.py",),
    "latency_focused": ("latency.py", "--focused"),
    "warm": ("warm.py",),
    "prefixes": ("prefixes.py",),
    "turns": ("turns.py",),
    "overhead": ("overhead.py",),
    "step": ("step.py",),
    "passes": ("passes.py",),
    "sampling": ("sampling.py", "--vocabularies", "151936", "--rows", "64"),
}
_ALONE = {"warm", "turns", "overhead", "step", "passes", "sampling"}  # need nothing from `make peers`
_STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)


def arguments(name: str, options: argparse.Namespace) -> list[str]:
    """The command line of one benchmark."""
    script, *rest = JOBS[name]
    command = [sys.executable, str(FOLDER / "engine" / script), "--json", *rest]
    command += ["--rounds", str(options.rounds), "--minutes", str(options.minutes)]
    command += ["--quick"] if options.quick else []
    if name == "sampling":
        return command
    command += ["--peers", str(options.peers)]
    if options.model and name != "throughput_gemma":
        command += ["--model", options.model]
    if options.sessions and name in ("throughput", "throughput_gemma", "server"):
        command += ["--sessions", ",".join(map(str, options.sessions))]
    return command


def run_one(command: list[str]) -> dict[str, Any] | None:
    """One benchmark's JSON; None if it failed, in which case it has said why on stderr.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        output, _ = process.communicate()
    except BaseException:
        process.terminate()  # it ends its peers, then itself
        process.wait()
        raise
    if process.returncode in _STOPPED:
        raise KeyboardInterrupt
    if process.returncode:
        return None
    document: dict[str, Any] = json.loads(output)
    return document


def run_all(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Results by name, and the names of the benchmarks that failed."""
    results: dict[str, Any] = {}
    failed = []
    for name in options.only or JOBS:
        note(f"{name} …")
        start = perf_counter()
        result = run_one(arguments(name, options))
        if result is None:
            failed.append(name)
        else:
            results[name] = result
            if options.out:  # after each one: the next may be interrupted
                keep(options.out, document({name: result}))
        note(f"{name} took {perf_counter() - start:.0f} s")
    return results, failed


def document(results: dict[str, Any]) -> dict[str, Any]:
    """The contents of results.json."""
    about = {"date": date.today().isoformat(), "machine": machine(), "versions": versions()}
    return about | {"results": results}


def keep(out: Path, fresh: dict[str, Any]) -> None:
    """Write the results beside those of benchmarks that did not run; for results.json, the page too."""
    if out.is_file():
        earlier = json.loads(out.read_text(encoding="utf-8"))["results"]
        fresh = fresh | {"results": earlier | fresh["results"]}
    out.write_text(json.dumps(fresh, indent=1) + "\n", encoding="utf-8")
    if out == RESULTS:
        PAGE.write_text(replace_block(PAGE.read_text(encoding="utf-8"), fresh), encoding="utf-8")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; `out` is None when nothing is recorded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_limits(parser)
    parser.add_argument("--peers", type=Path, default=PEERS, help="folder with the tools `make peers` builds")
    parser.add_argument("--only", type=lambda text: text.split(","), help=f"some of: {','.join(JOBS)}")
    parser.add_argument("--model", help="a .gguf file instead of the starter model")
    parser.add_argument("--sessions", type=counts, help="for throughput and server")
    parser.add_argument("--out", type=Path, help="the file to record results in")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    args = parser.parse_args(argv)
    if unknown := set(args.only or ()) - set(JOBS):
        parser.error(f"--only: unknown benchmark {', '.join(sorted(unknown))}")
    if args.out is None and not (args.quick or args.model or args.sessions):
        args.out = RESULTS
    return args


def main() -> int:
    """Measure, print, record; returns 1 if a benchmark failed."""
    options = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if set(options.only or JOBS) - _ALONE and not (options.peers / "llama-server").is_file():
        print(f"No peers in {options.peers}: run `make peers` first.", file=sys.stderr)
        return 1
    try:
        results, failed = run_all(options)
    except KeyboardInterrupt:
        return 130
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    fresh = document(results)
    print(json.dumps(fresh, indent=1) if options.json else "\n".join(table(results)))
    missed = [line.what for line in lines(results) if line.verdict == "missed"]
    note(f"{len(missed)} targets missed." if missed else "All targets met.")
    if failed:
        note(f"Failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
