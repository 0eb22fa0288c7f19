"""The application over a real store and a scripted engine, for tests of the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from textual import events
from textual.pilot import Pilot
from textual.widgets import Static

from engine import (
    ChatMessage,
    EngineConfig,
    EngineStats,
    FinishReason,
    GenerationRequest,
    ModelInfo,
    RequestPhase,
    RequestStats,
    Timings,
    TokenChunk,
)
from engine.devices import DeviceReading, GpuReading
from memory import Memory
from stevemin_chat.base.config import Config, MemorySection
from stevemin_chat.base.paths import Paths
from stevemin_chat.models.catalogue import Catalogue
from stevemin_chat.runtime import Runtime
from stevemin_chat.tui.app import SteveminApp
from stevemin_chat.tui.chat_screen import ChatScreen
from stevemin_chat.tui.controller import opener_over
from stevemin_chat.tui.widgets.code_block import CodeLines

NOW = datetime(2000, 1, 1, tzinfo=UTC)  # before anything was stored: every age is "now"
MODEL = "tiny"
GIB = 2**30
_CHARACTERS = {"enter": "\r", "slash": "/", "space": " "}


class FakeStream:
    """A reply whose text the test gives."""

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.finish_reason: FinishReason | None = None
        self.timings = Timings()
        self.text = ""
        self.cancelled = False
        self._inbox: asyncio.Queue[str | FinishReason | Exception] = asyncio.Queue()

    @property
    def done(self) -> bool:
        return self.finish_reason is not None or self.cancelled

    def push(self, text: str) -> None:
        self._inbox.put_nowait(text)

    def end(self, reason: FinishReason = FinishReason.STOP) -> None:
        self._inbox.put_nowait(reason)

    def fail(self, error: Exception) -> None:
        self._inbox.put_nowait(error)

    def cancel(self) -> None:
        self.cancelled = True
        self.end(FinishReason.CANCELLED)

    def __aiter__(self) -> AsyncIterator[TokenChunk]:
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[TokenChunk]:
        while True:
            item = await self._inbox.get()
            if isinstance(item, Exception):
                raise item
            if isinstance(item, FinishReason):
                break
            self.text += item
            yield TokenChunk(item)
        self.finish_reason = item
        self.timings = Timings(
            prompt_tokens=400,
            cached_tokens=380,
            completion_tokens=len(self.text.split()),
            ttft_s=0.21,
            tokens_per_second=42.5,
            itl_p50_s=0.0235,
        )


class FakeEngine:
    """Answers when the test says so; with `script`, at once."""

    load = 0.0
    load_error: Exception | None = None
    load_gate: asyncio.Event | None = None
    script: Sequence[str] = ()

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.streams: list[FakeStream] = []
        self.forgotten: list[str] = []
        self.focused: list[str | None] = []
        self.stats_now: EngineStats | None = None
        self.info = model_info(config.model_path)

    async def start(self, on_progress: Callable[[float], None] | None = None) -> None:
        if on_progress is not None:
            on_progress(0.4)
        if self.load_gate is not None:
            await self.load_gate.wait()
        if self.load_error is not None:
            raise self.load_error

    async def close(self) -> None:
        for stream in self.streams:
            if not stream.done:
                stream.cancel()

    def submit(self, request: GenerationRequest) -> FakeStream:
        stream = FakeStream(request)
        self.streams.append(stream)
        if self.script:
            for piece in self.script:
                stream.push(piece)
            stream.end()
        return stream

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def count_prompt(self, messages: Sequence[ChatMessage]) -> int:
        return sum(len(message.content.split()) + 3 for message in messages)

    def forget(self, session_id: str) -> None:
        self.forgotten.append(session_id)

    def focus(self, session_id: str | None) -> None:
        self.focused.append(session_id)

    def stats(self) -> EngineStats:
        return self.stats_now or EngineStats(active=len([s for s in self.streams if not s.done]))


class FakeDevices:
    """A machine that never changes."""

    def read(self) -> DeviceReading:
        gpu = GpuReading(
            name="A GPU", vram_used=6 * GIB, vram_total=24 * GIB, load_percent=71, temperature_c=58
        )
        return DeviceReading(
            ram_used=9 * GIB, ram_total=32 * GIB, process_rss=GIB, cpu_percent=35, gpus=(gpu,)
        )


def model_info(path: Path) -> ModelInfo:
    return ModelInfo(
        name="Tiny",
        description="tiny 135M Q4",
        path=path,
        context_tokens=2048,
        kv_cells=8192,
        trained_context=2048,
        vocab_size=1000,
        size_bytes=GIB // 10,
        parameters=135_000_000,
        kv_bytes_per_token=1000,
        layer_count=30,
        offloaded_layers=0,
        template_name="gguf",
    )


def busy_stats(*session_ids: str) -> EngineStats:
    """Stats of an engine that serves these sessions."""
    requests = tuple(
        RequestStats(
            request_id=number,
            session_id=session_id,
            phase=RequestPhase.DECODE if number else RequestPhase.PREFILL,
            prompt_tokens=1234,
            computed_tokens=1234 if number else 555,
            cached_tokens=200,
            completion_tokens=40 * number,
            tokens_per_second=31.4 * bool(number),
            ttft_s=0.34 if number else None,
        )
        for number, session_id in enumerate(session_ids)
    )
    return EngineStats(
        active=len(requests),
        waiting=2,
        tokens_per_second=94.2,
        prefill_tokens_per_second=512,
        requests_per_second=0.4,
        batch_tokens=131,
        batch_capacity=512,
        batch_sequences=len(requests),
        max_sessions=8,
        kv_cells_used=3210,
        kv_cells_total=8192,
        ttft_p50_s=0.34,
        itl_p50_s=0.028,
        itl_p95_s=0.041,
        itl_p99_s=0.055,
        prefix_hit_rate=0.83,
        steps=4321,
        overhead=0.006,
        drafted_tokens=500,
        accepted_tokens=310,
        paused=1,
        parked=12,
        parked_on_disk=3,
        requests=requests,
    )


def make_runtime(home: Path, engine: type[FakeEngine] = FakeEngine, **config: Any) -> Runtime:
    """A runtime with a store of its own and a catalogue of two models, one of them not downloaded.

    It asks the engine for nothing by itself: no summaries, unless `config` has them.
    """
    config = {"memory": MemorySection(summaries=False)} | config
    paths = Paths(home / "config", home / "data", home / "cache", home / "logs")
    paths.config.mkdir(parents=True, exist_ok=True)
    paths.data.mkdir(parents=True, exist_ok=True)
    model = home / "tiny.gguf"
    model.write_bytes(b"GGUF")
    paths.user_catalogue.write_text(
        f'[models.{MODEL}]\npath = "{model}"\nparameters = "135M"\nquantization = "Q4_1"\n'
        'context_length = 2048\nlicence = "Apache-2.0"\ndescription = "Small and quick."\n'
        '[models.large]\nrepo = "someone/large-GGUF"\nfile = "large.gguf"\nparameters = "8B"\n'
        "vram_gib = 6.1\n"
    )
    return Runtime(
        paths=paths,
        config=Config(model=MODEL, **config),
        catalogue=Catalogue.load(paths.user_catalogue),
        memory=Memory(paths.database),
        engine_factory=engine,  # type: ignore[arg-type]
    )


def app_over(runtime: Runtime) -> SteveminApp:
    """The application over a runtime that the test closes; ages of chats are all "now"."""
    devices: Any = FakeDevices()
    return SteveminApp(opener_over(runtime, devices=devices), now=lambda: NOW)


@asynccontextmanager
async def running(
    runtime: Runtime, size: tuple[int, int] = (100, 30)
) -> AsyncIterator[tuple[Pilot[None], ChatScreen]]:
    """The application, with its model loaded where that does not need the test."""
    app = app_over(runtime)
    try:
        async with app.run_test(size=size, notifications=True) as pilot:
            screen = app.screen
            assert isinstance(screen, ChatScreen)
            screen.prompt.cursor_blink = False
            engine = runtime.model._engine_factory
            waits = getattr(engine, "load_gate", None) or getattr(engine, "load_error", None)
            await until(pilot, lambda: screen.attached and (waits or runtime.engine is not None))
            yield pilot, screen
            await screen.controller.chats.close()
    finally:
        await runtime.close()


def engine_of(screen: ChatScreen) -> FakeEngine:
    """The scripted engine behind a screen."""
    engine: Any = screen.controller.runtime.engine
    assert isinstance(engine, FakeEngine)
    return engine


async def until(pilot: Pilot[None], condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Let the application run until something is so."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, "it did not come to that"
        await pilot.pause(0.01)
    await pilot.pause()


def burst(screen: ChatScreen, *keys: str) -> None:
    """Press keys without waiting for any of them, as one write to a terminal does."""
    for key in keys:
        screen.app.post_message(events.Key(key, _CHARACTERS.get(key, key if len(key) == 1 else None)))


async def type_in(pilot: Pilot[None], screen: ChatScreen, *keys: str) -> None:
    """Press keys for the prompt, all at once, and wait until they are handled."""
    await pilot.pause()
    burst(screen, *keys)
    await pilot.pause()
    await screen.prompt.caught_up()
    await pilot.pause()


async def say(pilot: Pilot[None], screen: ChatScreen, text: str) -> None:
    """Type a message and send it."""
    screen.prompt.put(text)
    await pilot.pause()
    if screen.prompt.completing:
        await pilot.press("escape")
    await pilot.press("enter")


async def ask(pilot: Pilot[None], screen: ChatScreen, text: str) -> FakeStream:
    """Send a message and give the stream that will answer it."""
    before = len(engine_of(screen).streams)
    await say(pilot, screen, text)
    await until(pilot, lambda: len(engine_of(screen).streams) > before)
    return engine_of(screen).streams[-1]


def shown(screen: ChatScreen) -> str:
    """Everything that can be read in the transcript, in order."""
    return "\n".join(_texts(screen))


def _texts(screen: ChatScreen) -> Iterator[str]:
    for widget in screen.transcript.walk_children():
        if isinstance(widget, Static) and widget.display:
            yield str(widget.visual)
        elif isinstance(widget, CodeLines):
            yield widget.code.text


def rows(screen: ChatScreen) -> list[str]:
    """What stands on the screen, line by line."""
    strips = screen._compositor.render_strips()
    return [strip.text.rstrip() for strip in strips]


def toasts(screen: ChatScreen) -> list[str]:
    """Texts of all notices so far."""
    return [notice.message for notice in screen.app._notifications]
