"""The path of a message: the files that handle its text on the way to llama_decode, and the answer's back.

While one real message is answered, a profiler on every thread looks at what our calls hold and return.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from chat_tests.tui_kit import app_over, until

from engine.llama.backend import LlamaBackend
from engine.step import StepPlan, StepResult
from stevemin_chat.base.config import Config, EngineSection, SamplingSection
from stevemin_chat.base.paths import Paths
from stevemin_chat.runtime import Runtime
from stevemin_chat.tui.chat_screen import ChatScreen

ROOT = Path(__file__).parents[1]
OURS = tuple(f"{ROOT / package}/" for package in ("engine", "memory", "stevemin_chat"))
ASKED = " Zanzibarius quokka"  # at the end of a message, after what becomes the chat's title
ANSWERED = " photosynthesis"  # one token of the starter model
QUESTION = "Describe to me, in a few words and without any haste, the meaning of" + ASKED
TIMEOUT_S = 40.0  # seconds; a busy machine is no failure

PROMPT = "stevemin_chat/tui/widgets/prompt.py"
BACKEND = "engine/llama/backend.py"
MEMORY = "memory/memory.py"
# Leaves: they get the text, or tokens, and give them back cleaned, parsed, looked up or in order. A file that
# is not named here and hands the text on, or back, counts.
LEAVES = (
    "engine/llama/batch.py",  # fills llama.cpp's arrays
    "engine/llama/sampler.py",
    "engine/llama/vocab.py",
    "engine/schedule/queue.py",
    "engine/text/marks.py",  # keeps control tokens out
    "engine/text/template.py",  # renders, in a process of its own
    "stevemin_chat/text/",
    "stevemin_chat/tui/commands.py",  # tells a slash command from a message
    "stevemin_chat/tui/widgets/reply_source.py",
)
# What is stored of an answer, and booked of its tokens, does not go to the screen.
STORED = (MEMORY, "stevemin_chat/chats/reply_writer.py")
BOOKED = ("engine/kv/", "engine/metrics.py", "engine/schedule/", "engine/step.py", "engine/text/prompt.py")


class Tracer:
    """Records which files hold a text, and which calls carry it from file to file.

    Attributes:
        held: files with a call that held the text in an argument, a variable or its result.
        calls: caller and callee, where both held it.
        returned: files with a call that returned it to another file.
    """

    def __init__(self) -> None:
        self.text: str | None = None
        self.tokens: tuple[int, ...] = ()  # that spell it
        self.held: set[str] = set()
        self.calls: set[tuple[str, str]] = set()
        self.returned: set[str] = set()

    def look(self, frame: FrameType, result: Any) -> None:
        """Record a call that ends, or pauses, with this result."""
        if self.text is None:
            return
        file = ours(frame)
        if file is None or inside_memory(frame) or not (self._holds(frame) or self._in(result)):
            return
        self.held.add(file)
        caller = nearest(frame.f_back)
        name = ours(caller) if caller is not None else None
        if caller is None or name is None or name == file:
            return
        if self._holds(caller):
            self.calls.add((name, file))
        if self._in(result):
            self.returned.add(file)

    def _holds(self, frame: FrameType) -> bool:
        return any(name != "self" and self._in(value) for name, value in list(frame.f_locals.items()))

    def _in(self, value: Any, depth: int = 4) -> bool:
        text = self.text
        if text is None or depth == 0:
            return False
        if isinstance(value, dict):
            return any(self._in(item, depth - 1) for item in [*value.values()][:64])
        if type(value) is int:
            return self.tokens == (value,)
        if isinstance(value, (str, bytes)):
            return text in (value if isinstance(value, str) else value.decode(errors="replace"))
        if isinstance(value, (list, tuple)):
            if value and all(type(item) is int for item in value):
                n = len(self.tokens)
                return n > 0 and any(
                    tuple(value[at : at + n]) == self.tokens for at in range(len(value) - n + 1)
                )
            return any(self._in(item, depth - 1) for item in value[:64])
        frozen = getattr(type(value), "__dataclass_params__", None)
        if frozen is not None and frozen.frozen:
            return any(
                self._in(getattr(value, field.name, None), depth - 1) for field in dataclasses.fields(value)
            )
        tokens = getattr(value, "tokens", None)
        return isinstance(tokens, list) and self._in(tokens, depth - 1)


def ours(frame: FrameType) -> str | None:
    name = frame.f_code.co_filename
    return str(Path(name).relative_to(ROOT)) if name.startswith(OURS) else None


def nearest(frame: FrameType | None) -> FrameType | None:
    """The nearest call of ours below this one."""
    while frame is not None and ours(frame) is None:
        frame = frame.f_back
    return frame


def inside_memory(frame: FrameType) -> bool:
    """Whether the memory's façade asked for this: how a prompt is built inside is not the message's path."""
    file, below = ours(frame), frame.f_back
    if file is not None and file.startswith("memory/") and file != MEMORY:
        return True
    while below is not None:
        if ours(below) == MEMORY and file != MEMORY:
            return True
        below = below.f_back
    return False


@contextmanager
def traced(*tracers: Tracer) -> Iterator[None]:
    """Profile this thread, and every thread that starts meanwhile."""

    def profile(frame: FrameType, event: str, result: Any) -> None:
        if event == "return":
            for tracer in tracers:
                tracer.look(frame, result)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the model samples, its answer repeats one long word."""
    execute = LlamaBackend.execute

    def say(self: LlamaBackend, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        result = execute(self, plan, meanwhile)
        (token,) = self.tokenize(ANSWERED)
        sampled = {request: (token,) * len(tokens) for request, tokens in result.sampled.items()}
        return dataclasses.replace(result, sampled=sampled)

    monkeypatch.setattr(LlamaBackend, "execute", say)


@pytest.fixture
async def traces(starter_model: Path, scripted: None) -> tuple[Tracer, Tracer]:
    """One message sent in the real application: who held its text, and who the answer's."""
    down, up = Tracer(), Tracer()
    config = Config(
        engine=EngineSection(context_tokens=2048, max_sessions=2, speculation="off"),
        sampling=SamplingSection(temperature=0.0, max_tokens=12),
    )
    with traced(down, up):
        runtime = await Runtime.open(Paths.resolve(), config)
        try:
            async with app_over(runtime).run_test(size=(120, 40)) as pilot:
                screen = pilot.app.screen
                assert isinstance(screen, ChatScreen)
                await until(pilot, lambda: screen.attached and runtime.engine is not None, TIMEOUT_S)
                await until(pilot, lambda: screen.controller.models.loading is None, TIMEOUT_S)
                down.tokens, up.tokens = tokens_of(runtime, ASKED), tokens_of(runtime, ANSWERED)
                screen.prompt.put(QUESTION)
                down.text, up.text = ASKED, ANSWERED.strip()
                await pilot.press("enter")
                chats = screen.controller.chats
                await until(pilot, lambda: bool(chats.all[0].entries) and not chats.busy, TIMEOUT_S)
                await until(pilot, lambda: "reply_text.py" in " ".join(up.held), TIMEOUT_S)
                reply = (chats.all[0].entries or [])[-1]
                assert reply.text.count(ANSWERED.strip()) == 12
        finally:
            down.text = up.text = None
            await runtime.close()
    return down, up


def tokens_of(runtime: Runtime, text: str) -> tuple[int, ...]:
    assert runtime.engine is not None
    assert runtime.engine._core is not None
    backend = runtime.engine._core._backend
    assert isinstance(backend, LlamaBackend)
    return tuple(backend.tokenize(text))


def reachable(calls: set[tuple[str, str]], start: str) -> set[str]:
    found, frontier = {start}, [start]
    while frontier:
        file = frontier.pop()
        for caller, callee in calls:
            if caller == file and callee not in found:
                found.add(callee)
                frontier.append(callee)
    return found


def path_down(trace: Tracer) -> set[str]:
    """Files that hand the text on to llama_decode by calls, and those that they ask and that give it back."""
    backwards = {(callee, caller) for caller, callee in trace.calls}
    spine = reachable(trace.calls, PROMPT) & reachable(backwards, BACKEND)
    asked = {callee for caller, callee in trace.calls if caller in spine} & trace.returned
    return {file for file in spine | asked if not file.startswith(LEAVES)}


def path_up(trace: Tracer) -> set[str]:
    """Files that hold the answer, or its tokens, between llama_decode and the screen."""
    return {file for file in trace.held if not file.startswith((*LEAVES, *STORED, *BOOKED))}


def drawn(heading: str) -> set[str]:
    """The files in the picture below a heading of the page about the architecture."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    picture = page.split(f"## {heading}", 1)[1].split("```")[1]
    return set(re.findall(r"(?:engine|memory|stevemin_chat)/[\w/]+\.py", picture))


async def test_a_message_passes_ten_files_down_and_its_answer_eight_up(traces: tuple[Tracer, Tracer]) -> None:
    down, up = path_down(traces[0]), path_up(traces[1])
    assert sorted(down) == sorted(drawn("Down")), "docs/architecture.md draws another way down"
    assert sorted(up) == sorted(drawn("Up")), "docs/architecture.md draws another way up"
    assert len(down) <= 10
    assert len(up) <= 8
