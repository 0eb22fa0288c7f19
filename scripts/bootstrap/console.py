"""The set-up's one error, and long commands: output to a log, progress to the terminal."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["SetupError", "error_lines", "run_logged", "say"]

_COUNTED = re.compile(r"^\s*\[\s*(\d+)/(\d+)\]")  # ninja
_PERCENT = re.compile(r"^\s*\[\s*(\d+)%\]")  # make
_PIP = re.compile(r"^\s*((?:Collecting|Downloading|Building|Installing)\b.*)")
_ERROR = re.compile(r"\berror\b|\bfatal\b|No space left", re.IGNORECASE)
_PLAIN_EVERY_S = 30.0
_PLAIN_WIDTH = 100


def say(line: str) -> None:
    """Print a line for a person, on stderr, so that the stdout of later commands stays clean."""
    print(line, file=sys.stderr, flush=True)


def run_logged(
    label: str,
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command and show its progress.

    Raises:
        SetupError: it failed; prints the relevant lines of the log and names it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as sink:
        try:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, "PIP_NO_INPUT": "1", **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                process_group=0,  # so that stopping it also stops the compilers below it
            )
        except OSError as error:
            raise SetupError(f"{label} failed: cannot run {command[0]}: {error.strerror}.") from error
        _watch(process, _Progress(label), sink)
    if process.returncode:
        for line in error_lines(log.read_text(encoding="utf-8")):
            say(f"    {line}")
        raise SetupError(f"{label} failed. Full log: {log}")


def error_lines(text: str, limit: int = 12) -> list[str]:
    """The first error lines of a log with the lines they announce; without any, its last lines."""
    lines = [line.strip()[:300] for line in text.splitlines() if line.strip()]
    is_error = [bool(_ERROR.search(line)) and not _COUNTED.match(line) for line in lines]
    announced = [False, *(it and line.endswith(":") for it, line in zip(is_error, lines, strict=True))]
    shown = [line for line, *why in zip(lines, is_error, announced, strict=False) if any(why)]
    return shown[:limit] or lines[-limit:]


class _Progress:
    """One updating line on a terminal; a line every 30 seconds elsewhere."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.status = ""
        self._started = time.monotonic()
        self._shown_at = self._started
        self._live = sys.stderr.isatty()

    def note(self, line: str) -> None:
        """Update the status from one line of output."""
        if counted := _COUNTED.match(line):
            done, total = int(counted[1]), int(counted[2])
            self.status = f"{100 * done // total:3d}%  [{done}/{total}]"
        elif percent := _PERCENT.match(line):
            self.status = f"{int(percent[1]):3d}%"
        elif step := _PIP.match(line):
            self.status = step[1]

    def show(self) -> None:
        """Redraw the line."""
        now = time.monotonic()
        if self._live:
            width = shutil.get_terminal_size().columns
            sys.stderr.write(f"\r\x1b[K{self._line(now)[: width - 1]}")
            sys.stderr.flush()
        elif now - self._shown_at >= _PLAIN_EVERY_S:
            self._shown_at = now
            say(self._line(now)[:_PLAIN_WIDTH])

    def finish(self, succeeded: bool) -> None:
        """Replace the line with the outcome."""
        seconds = time.monotonic() - self._started
        start = "\r\x1b[K" if self._live else ""
        say(f"{start}  {self.label}: {'done' if succeeded else 'failed'} after {_clock(seconds)}")

    def _line(self, now: float) -> str:
        return f"  {self.label}  {_clock(now - self._started)}  {self.status}"


def _watch(process: subprocess.Popen[str], progress: _Progress, sink: IO[str]) -> None:
    output = process.stdout
    assert output is not None

    def read() -> None:
        for line in output:
            sink.write(line)
            progress.note(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            progress.show()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1.0)
    finally:
        _stop(process)
        reader.join(timeout=5.0)
        if not reader.is_alive():  # else a child still holds the pipe open, and closing it would block
            output.close()
    progress.finish(process.returncode == 0)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    for stop in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5.0)
            return


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class SetupError(Exception):
    """The set-up cannot continue; the message is one line that says what to do."""
