"""The time from the start of the process to the first painted frame, beside a bare Textual application.

    python bench/chat/first_paint.py [--rounds 9] [--json]

Both run in turns in a pseudo-terminal. Two costs are told: the time on the clock, and the processor time, which
other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

__all__ = ["BARE", "OURS", "SIDES", "first_frame", "measure"]

ROOT = Path(__file__).parents[2]

# Runs first in either process. Textual writes frames to sys.__stderr__: the frame that has the mark in it is
# the first one, and the process ends there. What arrives behind the screen is held back until then.
_WATCH = """
import json, os, sys, threading, time

mark, target, behind = sys.argv[1:4]
painted = threading.Event()

class Watched:
    def __init__(self, file):
        self.file = file
    def __getattr__(self, name):
        return getattr(self.file, name)
    def write(self, text):
        self.file.write(text)
        if mark in text:
            found = {"cpu_s": time.process_time(), "modules": sorted(sys.modules)}
            with open(target, "w") as file:
                json.dump(found, file)
            os._exit(0)

class Held:
    def find_spec(self, name, path=None, module=None):
        if name == behind and not painted.wait(20):
            raise ImportError(f"{name} is imported before anything is painted")

sys.__stderr__ = Watched(sys.__stderr__)
sys.meta_path.insert(0, Held())
del sys.argv[1:]
"""

OURS = """
from stevemin_chat.cli.main import main
sys.exit(main())
"""

BARE = """
from textual.app import App
from textual.widgets import Static

class Bare(App):
    def compose(self):
        yield Static("commands")

Bare().run()
"""

SIDES = {"ours": OURS, "bare": BARE}
_MARK = "commands"  # in the prompt's placeholder
_BEHIND = "stevemin_chat.tui.controller"


def first_frame(program: str) -> dict[str, Any]:
    """Run a program to its first frame.

    Returns:
        `wall_s` and `cpu_s` from the start of the process, and the `modules` imported by then.

    Raises:
        RuntimeError: it ended without one.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "found.json")
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        output: list[bytes] = []
        reader = Thread(target=_read, args=(master, output), daemon=True)
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", _WATCH + program, _MARK, str(target), _BEHIND],
            cwd=ROOT,
            env=_environment() | {"STEVEMIN_HOME": folder, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        reader.start()
        try:
            process.wait(60)
        finally:
            wall = time.perf_counter() - begun
            process.kill()
            os.close(master)
        if not target.exists():
            raise RuntimeError(b"".join(output).decode(errors="replace"))
        found: dict[str, Any] = json.loads(target.read_text())
    return found | {"wall_s": wall}


def measure(rounds: int) -> dict[str, Any]:
    """Medians over the rounds, after one that is not counted: it compiles and warms the disk cache."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    for turn in range(rounds + 1):
        for name in sorted(SIDES, reverse=bool(turn % 2)):
            found = first_frame(SIDES[name])
            if turn:
                runs[name].append(found)
    result: dict[str, Any] = {"rounds": rounds}
    for name, found in runs.items():
        result[name] = {cost: median(run[cost] for run in found) for cost in ("wall_s", "cpu_s")}
        result[name]["modules"] = len(found[0]["modules"])
    result["ratio"] = result["ours"]["wall_s"] / result["bare"]["wall_s"]
    result["cpu_ratio"] = result["ours"]["cpu_s"] / result["bare"]["cpu_s"]
    return result


def _environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _read(master: int, output: list[bytes]) -> None:
    with suppress(OSError):
        while data := os.read(master, 65536):
            output.append(data)


def _lines(result: dict[str, Any]) -> Iterable[str]:
    for name in SIDES:
        side = result[name]
        yield (
            f"{name}: {side['wall_s']:.3f} s, {side['cpu_s']:.3f} s of processor time,"
            f" {side['modules']} modules"
        )
    yield f"ratio {result['ratio']:.2f}, of processor time {result['cpu_ratio']:.2f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="runs per side, in turns (default: 9)")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    options = parser.parse_args()
    result = measure(options.rounds)
    print(json.dumps(result, indent=2) if options.json else "\n".join(_lines(result)))


if __name__ == "__main__":
    main()
