"""The real program on a real terminal that goes away, and the real program killed in mid-answer."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from memory import Memory, Message
from stevemin_chat.base.paths import Paths

pytestmark = pytest.mark.usefixtures("starter_model")

ROOT = Path(__file__).parents[2]
QUESTION = "Write a very long story about the sea."
CONFIG = """
    strategy = "sliding" # the others load the embedding model, which this is not about
    [engine]
    context_tokens = 4096
    threads = 1
    [sampling]
    seed = 1
    max_tokens = 2000
"""


class Terminal:
    """A pseudo-terminal of 80 by 24 with the program in it."""

    def __init__(self) -> None:
        self.output = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.program = subprocess.Popen(
            [sys.executable, "-m", "stevemin_chat"],
            cwd=ROOT,
            env=os.environ | {"TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):
            while data := os.read(self._master, 65536):
                self.output += data

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        if self._master >= 0:
            os.close(self._master)
            self._master = -1


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    paths = Paths.resolve()
    paths.config.mkdir(parents=True)
    paths.config_file.write_text(CONFIG)
    terminal = Terminal()
    yield terminal
    terminal.program.kill()
    terminal.program.wait()
    terminal.close()


def wait(what: Callable[[], object], told: str) -> None:
    deadline = time.monotonic() + 90
    while not what():
        assert time.monotonic() < deadline, told
        time.sleep(0.05)


def stored() -> list[Message]:
    if not Paths.resolve().database.exists():
        return []
    with Memory(Paths.resolve().database) as memory:
        sessions = memory.sessions()
        return memory.messages(sessions[0].id) if sessions else []


def ask(terminal: Terminal) -> str:
    """Send the question; returns what was stored of the answer while it was being written."""
    wait(lambda: b"Message, or" in terminal.output, "the prompt never came")
    terminal.type(QUESTION + "\r")
    wait(lambda: len(stored()) == 2 and len(stored()[1].content) > 40, "no answer was stored")
    return stored()[1].content


def test_a_terminal_that_is_closed_ends_the_program_and_loses_nothing(terminal: Terminal) -> None:
    so_far = ask(terminal)
    terminal.close()
    assert terminal.program.wait(60) == 128 + signal.SIGHUP
    question, answer = stored()
    assert question.content == QUESTION
    assert answer.content.startswith(so_far)
    assert answer.status == "cancelled"


def test_kill_9_in_mid_answer_loses_neither_the_message_nor_the_partial_answer(terminal: Terminal) -> None:
    so_far = ask(terminal)
    terminal.program.kill()
    terminal.program.wait()
    question, answer = stored()
    assert question.content == QUESTION
    assert answer.content.startswith(so_far)
    with Memory(Paths.resolve().database) as memory:
        assert memory.recover_interrupted() == 1
    assert stored()[1].status == "interrupted"


def test_ctrl_q_in_mid_answer_stores_it_and_gives_the_terminal_back(terminal: Terminal) -> None:
    so_far = ask(terminal)
    terminal.type("\x11")
    assert terminal.program.wait(60) == 0
    assert stored()[1].content.startswith(so_far)
    assert stored()[1].status == "cancelled"
    assert b"\x1b[?1049l" in terminal.output
    assert b"Traceback" not in terminal.output
