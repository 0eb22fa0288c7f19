"""`stevemin ask` and the chat's door with the real starter model: streams, signals, pipes, bad input."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_tests.cli.cli_kit import Cli, Ran, command, environment, run_process

from memory import Memory
from stevemin_chat.base.paths import Paths, SingleInstance, project_folder

TIMEOUT_S = 60


@pytest.fixture(autouse=True)
def settings(stevemin_home: Path) -> None:
    """One thread: two that wait for each other on a busy machine are many times slower."""
    file = Paths.resolve().config_file
    file.parent.mkdir(parents=True)
    small = {
        "threads": 1,
        "context_tokens": 4096,
        "batch_tokens": 64,
        "max_sessions": 1,
        "cached_sessions": 0,
    }
    file.write_text("\n".join(["[engine]", *(f"{name} = {value}" for name, value in small.items())]))


class Running:
    """A command whose stdout is a pipe and whose stderr is a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self.out = b""
        self.err = b""
        self._terminal = terminal

    def until(self, arrived: Callable[[Running], bool]) -> None:
        """Read both streams until something has arrived."""
        deadline = time.monotonic() + TIMEOUT_S
        while not arrived(self):
            assert time.monotonic() < deadline, (self.out, self.err)
            assert self._read(), (self.process.poll(), self.out, self.err)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C, or another signal; returns the exit code."""
        self.process.send_signal(number)
        deadline = time.monotonic() + TIMEOUT_S
        while self._read():
            assert time.monotonic() < deadline, (self.out, self.err)
        return self.process.wait(TIMEOUT_S)

    def _read(self) -> bool:
        assert self.process.stdout is not None
        out = self.process.stdout.fileno()
        ready, _, _ = select.select([out, self._terminal], [], [], 0.1)
        ended = False
        for stream in ready:
            try:
                data = os.read(stream, 65536)
            except OSError:  # a terminal that nobody holds any more
                data = b""
            if stream == out:
                self.out += data
                ended = ended or not data
            else:
                self.err += data
        return not ended


@contextmanager
def running(*arguments: str, stdin: bytes = b"") -> Iterator[Running]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs, env=environment()
    )
    os.close(theirs)
    assert process.stdin is not None
    try:
        with process:
            process.stdin.write(stdin)
            process.stdin.close()
            try:
                yield Running(process, ours)
            finally:
                process.kill()
    finally:
        os.close(ours)


def _messages(session: str) -> list[Any]:
    with Memory(Paths.resolve().database) as memory:
        return list(memory.messages(memory.session(session).id))


# Answers


def test_an_answer_is_kept_nowhere_unless_a_session_is_named(cli: Cli) -> None:
    ran = cli("ask", "Say hello.", "--json", "--seed", "1", "--max-tokens", "6")
    assert ran.code == 0
    assert set(ran.json) == {"text", "model", "session", "finish_reason", "timings", "context"}
    assert (ran.json["model"], ran.json["session"]) == ("smollm2-135m", None)
    assert (ran.json["finish_reason"], ran.json["timings"]["completion_tokens"]) == ("length", 6)
    assert ran.json["context"]["strategy"] == "hierarchical"
    assert ran.json["context"]["tokens"] == ran.json["timings"]["prompt_tokens"]
    assert cli("sessions", "list", "--json").json == []
    same = cli("ask", "Say hello.", "--seed", "1", "--max-tokens", "6")
    assert (same.code, same.out, same.err) == (0, ran.json["text"] + "\n", "")


def test_a_session_grows_with_each_question(cli: Cli) -> None:
    first = cli(
        "ask", "Name a fruit.", "-s", "fruits", "--system", "Be brief.", "--max-tokens", "4", "--json"
    ).json
    second = cli(
        "ask", "-s", first["session"], "--context", "full", "--max-tokens", "4", "--json", stdin="Another."
    )
    assert second.json["session"] == first["session"]
    assert second.json["context"]["strategy"] == "full"
    assert second.json["timings"]["prompt_tokens"] > first["timings"]["prompt_tokens"]
    contents = [(message.role, message.content) for message in _messages("fruits")]
    assert [role for role, _ in contents] == ["user", "assistant"] * 2
    assert [contents[0][1], contents[2][1]] == ["Name a fruit.", "Another."]
    with Memory(Paths.resolve().database) as memory:
        assert memory.session("fruits").project == project_folder()
    shown = cli("sessions", "show", "fruits").out
    assert "## System\n\nBe brief." in shown
    assert first["text"].strip() in shown


def test_what_is_piped_in_is_put_behind_the_prompt(cli: Cli) -> None:
    cli("ask", "Sum this up:", "-s", "x", "--max-tokens", "1", stdin=b"one\ntwo \xff\n\n")
    assert _messages("x")[0].content == "Sum this up:\n\none\ntwo \ufffd"


def test_any_gguf_file_is_a_model(cli: Cli, starter_model: Path) -> None:
    ran = cli("ask", "Hi", "-m", str(starter_model), "--max-tokens", "2", "--json")
    assert ran.json["model"] == str(starter_model)


def test_a_model_without_a_template_is_said_to_have_none(cli: Cli, gemma_model: Path) -> None:
    ran = cli("ask", "Hi", "-m", str(gemma_model), "--max-tokens", "2")
    assert ran.code == 0
    assert ran.err.startswith("stevemin: ")
    assert "template" in ran.err


@pytest.mark.parametrize("seed", [1, 2])
def test_an_answer_keeps_to_the_form_that_it_was_given(cli: Cli, tmp_path: Path, seed: int) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["rot", "grün"]}, "sure": {"type": "boolean"}},
        "required": ["colour", "sure"],
        "additionalProperties": False,
    }
    form = tmp_path / "form"
    form.write_text(json.dumps(schema))
    answer = cli("ask", "Sing a song.", "--json-schema", str(form), "--seed", str(seed)).json
    assert sorted(answer) == ["colour", "sure"]
    assert answer["colour"] in ("rot", "grün")
    form.write_text('root ::= "4" [2-5] | "drei"')
    assert cli("ask", "Sing a song.", "--grammar", str(form), "--seed", str(seed)).out.strip() in (
        "42", "43", "44", "45", "drei"
    )  # fmt: skip


# Bad input


def test_a_form_that_no_answer_can_have(cli: Cli, tmp_path: Path) -> None:
    form = tmp_path / "form"
    form.write_text('root ::= "yes" |\n  maybe')
    cli("ask", "hi", "--grammar", str(form)).failed("no rule 'maybe' (line 2)")
    form.write_text('{"type": "strng"}')
    cli("ask", "hi", "--json-schema", str(form)).failed("The JSON schema cannot be used", "strng")
    form.write_text("")
    cli("ask", "hi", "--grammar", str(form)).failed("The grammar is empty")


def test_models_that_are_none(cli: Cli, tmp_path: Path, starter_model: Path) -> None:
    cli("ask", "hi", "-m", "smolm2-135m").failed("Did you mean smollm2-135m?")
    cli("ask", "hi", "-m", "qwen3-4b").failed("stevemin models pull qwen3-4b")
    cli("ask", "hi", "-m", str(tmp_path / "none.gguf")).failed("No file", "none.gguf")
    cli("ask", "hi", "-m", str(tmp_path)).failed(str(tmp_path))
    text, empty, noise, cut = (tmp_path / f"{name}.gguf" for name in ("text", "empty", "noise", "cut"))
    text.write_text("hello")
    empty.touch()
    noise.write_bytes(b"GGUF" + os.urandom(5000))
    with starter_model.open("rb") as whole:
        cut.write_bytes(whole.read(20_000_000))
    cli("ask", "hi", "-m", str(text)).failed("text.gguf", "not a GGUF file")
    cli("ask", "hi", "-m", str(empty)).failed("empty.gguf", "not a GGUF file")
    for broken in (noise, cut):
        cli("ask", "hi", "-m", str(broken), "-s", "never").failed(broken.name)
    assert cli("sessions", "list", "--json").json == []


@pytest.mark.parametrize("strategy", ["hierarchical", "sliding", "full"])
def test_a_prompt_that_is_too_long_is_told_with_numbers_and_kept(cli: Cli, strategy: str) -> None:
    ran = cli("ask", "-s", "long", "--context", strategy, stdin="word " * 20_000)
    ran.failed("20,0", "tokens")
    assert [message.role for message in _messages("long")] == ["user"]


def test_a_second_chat_on_the_same_folder(stevemin_home: Path) -> None:
    with SingleInstance(Paths.resolve().lock_file):
        ran = _in_terminal()
    assert ran.code == 1
    assert f"already running (process {os.getpid()})" in ran.out
    assert "Traceback" not in ran.out
    assert len(ran.out.strip().splitlines()) == 1


def test_a_chat_with_wrong_settings_does_not_open(stevemin_home: Path) -> None:
    file = Paths.resolve().config_file
    file.write_text("modle = 1\n")
    ran = _in_terminal()
    assert ran.code == 1
    assert f"{file}, line 1: modle" in ran.out


def _in_terminal(*arguments: str) -> Ran:
    """Run a command that ends by itself with all three streams on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=environment(TERM="xterm")
    )
    os.close(theirs)
    said = b""
    with process, os.fdopen(ours, "rb", buffering=0) as stream:
        try:
            while data := stream.read(65536):
                said += data
        except OSError:  # nobody holds the other end any more
            pass
        code = process.wait(TIMEOUT_S)
    return Ran(code, said.decode(), "")


# Pipes and signals


def test_a_reader_that_leaves_ends_it_silently(stevemin_home: Path) -> None:
    question = (
        "stevemin_chat ask 'Write a long story about a dragon.' -s pipe --temperature 0 --max-tokens 400"
    )
    script = f"set -o pipefail; $PYTHON -m {question} | head -c 1"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, env=environment(PYTHON=command()[0]), timeout=TIMEOUT_S
    )
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 1, b"")
    reply = _messages("pipe")[1]
    assert reply.status == "cancelled"
    assert reply.content


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["ask", "hi", "--max-tokens", "2"], ["models", "list", "--json"]])
def test_a_full_disk_behind_stdout(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, env=environment()
        )
    Ran(done.returncode, "", done.stderr).failed("The disk is full")


def test_a_closed_stdout_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", "$PYTHON -m stevemin_chat models list >&-"],
        capture_output=True,
        env=environment(PYTHON=command()[0]),
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interruption_while_the_model_loads(stevemin_home: Path) -> None:
    with running("ask", "hi", "-s", "x") as ask:
        ask.until(lambda ask: b"Loading smollm2-135m" in ask.err)
        assert ask.interrupt() == 130
    assert ask.out == b""
    assert _without_progress(ask.err) == ""


def test_an_interruption_while_the_prompt_is_read(stevemin_home: Path) -> None:
    with running("ask", "Sum this up:", "-s", "x", stdin=b"lorem ipsum dolor " * 400) as ask:
        ask.until(lambda ask: b"Reading the prompt" in ask.err)
        assert ask.interrupt() == 130
    assert ask.out == b""
    assert _without_progress(ask.err) == ""
    question, reply = _messages("x")
    assert question.content.startswith("Sum this up:\n\nlorem")
    assert (reply.status, reply.content) == ("cancelled", "")


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_an_interruption_of_an_answer_keeps_its_text(cli: Cli, as_json: bool) -> None:
    options = ["--json"] if as_json else []
    question = "Write a long story about a mouse."
    with running("ask", question, "-s", "x", "--seed", "1", "--max-tokens", "1500", *options) as ask:
        if as_json:
            ask.until(lambda ask: any(message.content for message in _answering("x")))
        else:
            ask.until(lambda ask: len(ask.out) > 10)
        assert ask.interrupt() == 130
    assert _without_progress(ask.err) == ""
    reply = _messages("x")[1]
    assert (reply.status, reply.finish_reason) == ("cancelled", "cancelled")
    if as_json:
        document = Ran(130, ask.out.decode(), "").json
        assert (document["text"], document["finish_reason"]) == (reply.content, "cancelled")
    else:
        assert ask.out.decode().rstrip("\n") == reply.content.rstrip("\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_termination_keeps_the_text_and_says_so_by_its_code(
    cli: Cli, number: signal.Signals, code: int
) -> None:
    question = "Write a long story about a mouse."
    with running("ask", question, "-s", "x", "--seed", "1", "--max-tokens", "1500") as ask:
        ask.until(lambda ask: len(ask.out) > 10)
        assert ask.interrupt(number) == code
    assert _without_progress(ask.err) == ""
    reply = _messages("x")[1]
    assert (reply.status, reply.finish_reason) == ("cancelled", "cancelled")
    assert ask.out.decode().rstrip("\n") == reply.content.rstrip("\n")


def test_a_termination_while_the_model_loads(stevemin_home: Path) -> None:
    with running("ask", "hi", "-s", "x") as ask:
        ask.until(lambda ask: b"Loading smollm2-135m" in ask.err)
        assert ask.interrupt(signal.SIGTERM) == 143
    assert (ask.out, _without_progress(ask.err)) == (b"", "")


def test_a_killed_question_that_is_kept_nowhere_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    with running("ask", "Zwetschgenknödel: a long story.", "--max-tokens", "1500") as ask:
        ask.until(lambda ask: len(ask.out) > 10)
        ask.process.kill()
        ask.process.wait(TIMEOUT_S)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if "Zwetschgenknödel".encode() in path.read_bytes()]
    assert not [path for path in folder.rglob("*") if path.name.startswith("ask")]


def _answering(session: str) -> list[Any]:
    with Memory(Paths.resolve().database) as memory:
        record = memory.find_session(session)
        return list(memory.messages(record.id))[1:] if record is not None else []


def test_a_killed_process_leaves_the_question_and_what_was_answered(cli: Cli) -> None:
    with running("ask", "Write a long story.", "-s", "x", "--seed", "1", "--max-tokens", "1500") as ask:
        ask.until(lambda ask: any(message.content for message in _answering("x")))
        ask.process.kill()
    shown = cli("sessions", "show", "x", "--json").json["messages"]
    assert shown[0]["content"] == "Write a long story."
    assert (shown[1]["status"], bool(shown[1]["content"])) == ("interrupted", True)
    assert "*(interrupted: " in cli("sessions", "show", "x").out


def test_ctrl_c_while_a_model_is_pulled_and_on_it_goes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from chat_tests.models.loopback_hub import LoopbackHub

    content = b"GGUF" + os.urandom(2_000_000)
    with LoopbackHub({"owner/repo": {"m.gguf": content}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.go_on.clear()
        with running("models", "pull", "owner/repo") as pull:
            folder = Paths.resolve().models_dir / "owner" / "repo"
            pull.until(
                lambda pull: any(part.stat().st_size == len(content) // 2 for part in folder.glob("*.part"))
            )
            assert b"%  " in pull.err
            assert pull.interrupt() == 130
        hub.go_on.set()
        assert "Traceback" not in pull.err.decode()
        ran = run_process("models", "pull", "owner/repo")
        assert ran.code == 0, ran
        assert hub.ranges()[-1] == f"bytes={len(content) // 2}-"
    pulled = Paths.resolve().models_dir / "owner" / "repo"
    assert [path.name for path in pulled.iterdir()] == ["m.gguf"]
    assert (pulled / "m.gguf").read_bytes() == content


def _without_progress(said: bytes) -> str:
    """What is left on the terminal's screen."""
    lines = said.decode().replace("\r\n", "\n").split("\n")
    return "\n".join(re.sub(r".*\x1b\[K", "", line) for line in lines)
