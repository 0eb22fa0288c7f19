"""The real program on a real terminal: keys in one write, and a terminal or a process that ends."""

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
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from textual.color import Color

from memory import Memory, Message
from stevemin_chat.base.paths import Paths
from stevemin_chat.chats.drafts import Drafts, KeptDraft
from stevemin_chat.tui.theme import STEVEMIN_THEME

ROOT = Path(__file__).parents[3]
QUESTION = "Write a very long story about the sea."
ALPHABET = "zyxwvutsrqponmlkjihgfedcba and more"  # longer than what Textual reads as one key
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


@contextmanager
def opened(config: str) -> Iterator[Terminal]:
    """The program with these settings, on a terminal of its own."""
    paths = Paths.resolve()
    paths.config.mkdir(parents=True)
    paths.config_file.write_text(config)
    terminal = Terminal()
    try:
        yield terminal
    finally:
        terminal.program.kill()
        terminal.program.wait()
        terminal.close()


@pytest.fixture
def terminal(starter_model: object) -> Iterator[Terminal]:
    """The program with the starter model."""
    with opened(CONFIG) as terminal:
        yield terminal


@pytest.fixture
def without_model() -> Iterator[Terminal]:
    """The program without a model: messages wait in the queue, and leaving stores them."""
    with opened('model = "/no/such.gguf"') as terminal:
        yield terminal


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


def drawn(terminal: Terminal) -> None:
    """Wait for the first paint; the chats need not have been read."""
    wait(lambda: b"Message, or" in terminal.output, "the prompt never came")


def left(terminal: Terminal) -> list[KeptDraft]:
    """Leave with ctrl+q; returns what was kept."""
    terminal.type("\x11")
    assert terminal.program.wait(60) == 0, terminal.output[-2000:]
    return kept()


def kept() -> list[KeptDraft]:
    """Drafts and queues on disk."""
    return Drafts(Paths.resolve().data / "drafts.json").read()


def ask(terminal: Terminal) -> str:
    """Send the question; returns what was stored of the answer while it was being written."""
    drawn(terminal)
    terminal.type(QUESTION + "\r")
    wait(lambda: len(stored()) == 2 and len(stored()[1].content) > 40, "no answer was stored")
    return stored()[1].content


def test_a_terminal_that_is_closed_ends_the_program_and_loses_nothing(terminal: Terminal) -> None:
    so_far = ask(terminal)
    terminal.type("And then?\rhalf a")
    wait(lambda: b"half a" in terminal.output, "the draft was not typed")
    terminal.close()
    assert terminal.program.wait(60) == 128 + signal.SIGHUP
    assert [(item.queue, item.draft) for item in kept()] == [(("And then?",), "half a")]
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


def test_sigterm_in_mid_answer_stores_answer_queue_and_draft(terminal: Terminal) -> None:
    so_far = ask(terminal)
    terminal.type("And then?\rhalf a")
    wait(lambda: b"half a" in terminal.output, "the draft was not typed")
    terminal.program.terminate()
    assert terminal.program.wait(60) == 128 + signal.SIGTERM
    assert stored()[1].content.startswith(so_far)
    assert stored()[1].status == "cancelled"
    assert [(item.queue, item.draft) for item in kept()] == [(("And then?",), "half a")]
    assert b"\x1b[?1049l" in terminal.output
    assert b"Traceback" not in terminal.output


def test_every_enter_takes_the_text_before_it_and_keys_behind_it_type_the_next(
    without_model: Terminal,
) -> None:
    drawn(without_model)
    without_model.type("hi\r\rone\rtwo\rthree")
    (chat,) = left(without_model)
    assert (chat.queue, chat.draft) == (("hi", "one", "two"), "three")


def test_what_is_typed_before_anything_is_drawn_is_not_lost(without_model: Terminal) -> None:
    without_model.type("early ")
    drawn(without_model)
    without_model.type("bird")
    (chat,) = left(without_model)
    assert chat.draft == "early bird"


def test_the_first_frame_has_the_colours_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    with opened('theme = "textual-light"\nmodel = "/no/such.gguf"') as terminal:
        drawn(terminal)
        assert b"\x1b[48;2;" in terminal.output or b";48;2;" in terminal.output
        red, green, blue = Color.parse(STEVEMIN_THEME.background or "").rgb
        assert f"48;2;{red};{green};{blue}".encode() not in terminal.output


def test_editing_keys_in_one_write_take_effect_in_order(without_model: Terminal) -> None:
    drawn(without_model)
    without_model.type("hellp\x7fo\rbc\x1b[Ha\x1b[Fd\r")  # backspace, home, end
    without_model.type("wrong words\x15right\rtwo worms\x17words\r")  # ctrl+u, ctrl+w
    without_model.type("xabc\x1b[D\x1b[D\x1b[D\x1b[D\x1b[3~\r")  # left, delete
    without_model.type("half \x1b[1;2D\x1b[1;2D\x1b[1;2Dlt")  # shift+left
    (chat,) = left(without_model)
    assert (chat.queue, chat.draft) == (("hello", "abcd", "right", "two words", "abc"), "halt")


def test_alt_with_any_character_is_never_typed(without_model: Terminal) -> None:
    drawn(without_model)
    for key in "NOPXäÄ\u0441中.]10-=":
        without_model.type(f"\x1b{key}{ALPHABET}\r")
    (chat,) = left(without_model)
    assert chat.queue == (ALPHABET,) * 14
    assert chat.draft == ""


def test_alt_enter_makes_a_line_and_alt_with_a_letter_is_never_typed(without_model: Terminal) -> None:
    with Memory(Paths.resolve().database) as memory:
        record = memory.create_session("Yesterday")
        said = memory.add_message(record.id, "user", "A riddle?")
        memory.add_message(record.id, "assistant", "Forty-two.", parent_id=said.id)
    drawn(without_model)
    wait(lambda: b"lists the commands" in without_model.output, "the chats were not read")
    without_model.type("\x1b[1;3B")  # alt+down
    wait(lambda: b"Forty-two." in without_model.output, "the chat was not opened")
    without_model.type("one\x1b\rtwo\x1bx\x1bc, and much more text than thirty-two characters")
    copied = b"\x1b]52;c;" + b64encode(b"Forty-two.")
    wait(lambda: copied in without_model.output, "the answer was not copied")
    (chat,) = left(without_model)
    assert chat.draft == "one\ntwo, and much more text than thirty-two characters"


@pytest.mark.parametrize(
    ("damage", "line"),
    [("settings", b"stevemin: "), ("store", b"stevemin: ")],
)
def test_what_cannot_be_opened_ends_with_one_line_on_a_restored_terminal(damage: str, line: bytes) -> None:
    paths = Paths.resolve()
    paths.data.mkdir(parents=True)
    if damage == "store":
        paths.database.write_bytes(b"not a database" * 1000)
    with opened("temperature = 7" if damage == "settings" else "") as terminal:
        assert terminal.program.wait(60) == 1
        wait(lambda: line in terminal.output, "nothing was said")
        screen, _, told = terminal.output.rpartition(b"\x1b[?1049l")
        assert screen, "the screen was drawn and taken down"
        assert told.count(line) == 1
        assert b"Traceback" not in terminal.output
