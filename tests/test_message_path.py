"""The path of one message: which files handle its text from the key press to llama_decode, and the answer's back."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from chat_tests.tui_kit import app_over, say, until

from stevemin_chat.base.config import Config, EngineSection, SamplingSection
from stevemin_chat.base.paths import Paths
from stevemin_chat.runtime import Runtime
from stevemin_chat.tui.chat_screen import ChatScreen

ROOT = Path(__file__).parents[1]
PACKAGES = tuple(str(ROOT / name) + "/" for name in ("engine", "memory", "stevemin_chat"))
MARK = "Zanzibarius quokka"
PATIENCE = 120.0


class Tracer:
    def __init__(self) -> None:
        self.mark = ""
        self.tokens: tuple[int, ...] = ()
        self.seen: dict[str, set[str]] = {}
        self.strings: dict[str, dict[str, set[str]]] = {}
        self.on = False

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        if not self.on or event != "return" or not frame.f_code.co_filename.startswith(PACKAGES):
            return
        inner = inside_memory(frame)
        file = str(Path(frame.f_code.co_filename).relative_to(ROOT)) + (" [inner]" if inner else "")
        for name, value in frame.f_locals.items():
            if name == "self":
                continue
            if self.carries(value, 4):
                self.seen.setdefault(file, set()).add(frame.f_code.co_qualname)
            if isinstance(value, str) and 4 <= len(value):
                self.strings.setdefault(file, {}).setdefault(value, set()).add(frame.f_code.co_qualname)

    def carries(self, value: Any, depth: int) -> bool:
        if isinstance(value, str):
            return self.mark in value
        if depth == 0:
            return False
        if isinstance(value, (list, tuple)):
            if value and all(type(item) is int for item in value[:4]):
                n = len(self.tokens)
                return n > 0 and any(tuple(value[i : i + n]) == self.tokens for i in range(len(value) - n + 1))
            return any(self.carries(item, depth - 1) for item in value[:64])
        if dataclasses.is_dataclass(value) and value.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            return any(self.carries(getattr(value, f.name, None), depth - 1) for f in dataclasses.fields(value))
        tokens = getattr(value, "tokens", None)
        return isinstance(tokens, list) and self.carries(tokens, depth - 1)


def inside_memory(frame: FrameType) -> bool:
    below = frame.f_back
    while below is not None:
        if below.f_code.co_filename.startswith(PACKAGES[1]):
            return True
        below = below.f_back
    return False


@pytest.mark.usefixtures("starter_model")
async def test_path() -> None:
    tracer = Tracer()
    threading.setprofile(tracer)
    sys.setprofile(tracer)
    try:
        config = Config(engine=EngineSection(context_tokens=4096, max_sessions=2), sampling=SamplingSection(temperature=0.0, max_tokens=24))
        runtime = await Runtime.open(Paths.resolve(), config)
        app = app_over(runtime)
        async with app.run_test(size=(120, 40)) as pilot:
            screen = app.screen
            assert isinstance(screen, ChatScreen)
            await until(pilot, lambda: screen.attached and runtime.engine is not None, PATIENCE)
            await until(pilot, lambda: screen.controller.models.loading is None, PATIENCE)
            vocab = runtime.engine._worker._core._backend  if False else None
            tracer.mark = MARK
            screen.prompt.put(f"Tell me about {MARK} now")
            tracer.on = True
            await pilot.press("enter")
            await until(pilot, lambda: runtime.engine.stats().requests_done == 1 and not screen.controller.chats.busy, PATIENCE)
            await pilot.pause()
            tracer.on = False
            reply = screen.controller.chats.all[0].entries[-1].text
        await runtime.close()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    print("REPLY", reply)
    for f, names in sorted(tracer.seen.items()): print("DOWN", f, sorted(names))
    for f, s in sorted(tracer.strings.items()):
        hits = {n for v, ns in s.items() if v.strip() and len(v.strip())>=5 and v.strip() in reply and v.strip() not in ('assistant',) for n in ns}
        if hits: print("UP", f, sorted(hits), [v for v in s if len(v.strip())>=5 and v.strip() in reply][:3])
