"""Runs commands: in this process where that is enough, in one of their own where signals and exits count."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stevemin_chat.cli.main import main

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def failed(self, *words: str, code: int = 1) -> None:
        """It said one clear line on stderr, nothing on stdout, and ended with `code`."""
        assert (self.code, self.out) == (code, ""), self
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("stevemin: ")
        for word in words:
            assert word in lines[0]


class Cli:
    """Calls `stevemin` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str, stdin: str | bytes = b"", terminal: bool = False) -> Ran:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        source = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
        if terminal:
            source.isatty = lambda: True  # type: ignore[method-assign]
        self._capsys.readouterr()
        with self._monkeypatch.context() as patch, logging_kept():
            patch.setattr(sys, "stdin", source)
            code = main(arguments)
        out, err = self._capsys.readouterr()
        return Ran(code, out, err)


@contextmanager
def logging_kept() -> Iterator[None]:
    """Give the test runner its log handlers and hooks back at the end."""
    root = logging.getLogger()
    kept, level = list(root.handlers), root.level
    other = logging.lastResort, logging.raiseExceptions, warnings.showwarning
    hooks = threading.excepthook, sys.unraisablehook
    for handler in kept:
        root.removeHandler(handler)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for handler in list(root.handlers):
            root.removeHandler(handler)
            handler.close()
        for handler in kept:
            root.addHandler(handler)
        root.setLevel(level)
        logging.lastResort, logging.raiseExceptions, warnings.showwarning = other
        threading.excepthook, sys.unraisablehook = hooks


def command(*arguments: str) -> list[str]:
    """What starts `stevemin` as a process."""
    return [sys.executable, "-m", "stevemin_chat", *arguments]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with the checkout importable."""
    return os.environ | {"PYTHONPATH": str(ROOT)} | changes


def run_process(*arguments: str, stdin: str = "", **changes: str) -> Ran:
    """Run a command to its end in a process of its own."""
    done = subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(**changes),
        timeout=120,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
