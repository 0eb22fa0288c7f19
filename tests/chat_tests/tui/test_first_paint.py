"""The first frame: drawn before anything heavy is imported, and not much later than a bare application's.

The real programs run on a pseudo-terminal, each to its first frame. What they imported by then is compared,
and the processor time, which load on the machine disturbs less than the clock.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
MARK = "commands"  # in the placeholder of the prompt
HEAVY = (
    "chromadb",
    "engine",
    "huggingface_hub",
    "jinja2",
    "llama_cpp",
    "llguidance",
    "markdown_it",
    "memory",
    "numpy",
    "psutil",
    "pydantic",
    "pygments",
    "sentence_transformers",
    "sqlite3",
    "torch",
    "typer",
)

# Runs before the program. Textual writes frames to sys.__stderr__; the first one that contains the mark ends
# the process. The import of what is opened behind the screen waits for that.
WATCH = """
import json, os, sys, threading, time

class Watched:
    def __init__(self, file):
        self.file = file
    def __getattr__(self, name):
        return getattr(self.file, name)
    def write(self, text):
        if sys.argv[1] in text:
            with open(sys.argv[2], "w") as file:
                json.dump([time.process_time(), sorted(sys.modules)], file)
            os._exit(0)
        return self.file.write(text)

class Behind:
    def find_spec(self, name, path=None, module=None):
        if name == "stevemin_chat.tui.controller":
            threading.Event().wait(20)
            raise ImportError("This is imported before the first frame is drawn.")

sys.__stderr__ = Watched(sys.__stderr__)
sys.meta_path.insert(0, Behind())
"""
CHAT = """
from stevemin_chat.cli.main import main
main([])
"""
BARE = """
from textual.app import App
from textual.widgets import Static

class Bare(App):
    def compose(self):
        yield Static("Message, or / for commands")

Bare().run()
"""


class Frame(NamedTuple):
    """What it took to draw the first frame."""

    cpu_s: float
    modules: frozenset[str]


def first_frame(program: str) -> Frame:
    # Without compiled files, the chat's modules would be compiled again in each run, and Textual's would not.
    # A measurement of coverage would import sqlite3.
    unwanted = ("PYTHONDONTWRITEBYTECODE", "COVERAGE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    with TemporaryDirectory() as home:
        found = Path(home, "found.json")
        terminal, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        output: list[bytes] = []
        with subprocess.Popen(
            [sys.executable, "-c", WATCH + program, MARK, str(found)],
            cwd=ROOT,
            env=environment | {"STEVEMIN_HOME": home, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        ) as process:
            os.close(slave)
            reader = Thread(target=_read, args=(terminal, output))
            reader.start()
            process.wait(60)
        reader.join()
        os.close(terminal)
        assert found.exists(), b"".join(output).decode(errors="replace")
        cpu_s, modules = json.loads(found.read_text())
    return Frame(cpu_s, frozenset(modules))


def _read(terminal: int, output: list[bytes]) -> None:
    with suppress(OSError):  # how Linux tells the end
        while data := os.read(terminal, 65536):
            output.append(data)


@cache
def frames() -> tuple[Frame, Frame]:
    """Of the chat and of the bare application."""
    return first_frame(CHAT), first_frame(BARE)


@pytest.mark.parametrize("module", HEAVY)
def test_nothing_heavy_is_imported_before_the_first_frame(module: str) -> None:
    chat, _ = frames()
    assert module not in chat.modules


def test_the_first_frame_imports_at_most_half_as_many_modules_again_as_a_bare_one() -> None:
    chat, bare = frames()
    assert len(chat.modules) <= 1.5 * len(bare.modules)


def test_the_first_frame_costs_at_most_half_as_much_again_as_a_bare_one() -> None:
    """Load adds to processor time, in turns to the one and to the other: neither the least of each nor the
    middle of the rounds' ratios may show more."""
    rounds = [tuple(frame.cpu_s for frame in frames())]
    while not _close(rounds):
        assert len(rounds) < 15, rounds
        rounds.append((first_frame(CHAT).cpu_s, first_frame(BARE).cpu_s))


def _close(rounds: list[tuple[float, ...]]) -> bool:
    chats, bares = zip(*rounds, strict=True)
    ratios = [chat / bare for chat, bare in rounds]
    return min(chats) <= 1.5 * min(bares) or (len(ratios) > 2 and median(ratios) <= 1.5)
