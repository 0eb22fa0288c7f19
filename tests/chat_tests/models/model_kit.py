"""A scripted engine, and model files that it loads as their text says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bench.engine.fake_backend import fake_info
from engine import ChatMessage, EngineConfig, EngineStats, GenerationRequest, ModelInfo
from engine.errors import ModelCorrupt

__all__ = ["FakeEngine", "write_models"]


class FakeEngine:
    """Loads at once, unless the file's text says otherwise; logs what happens to it."""

    def __init__(self, config: EngineConfig, journal: list[str]) -> None:
        self.config = config
        self.journal = journal
        self.name = config.model_path.stem
        self.forgotten: list[str] = []
        self.focused: list[str | None] = []
        self.crash: Exception | None = None
        self.kind: Literal["text", "embedding"] = "text"
        self.now = EngineStats()

    @property
    def info(self) -> ModelInfo:
        if self.crash is not None:
            raise self.crash
        return replace(fake_info(1024), name=self.name, kind=self.kind, path=self.config.model_path)

    async def start(self, on_progress: Callable[[float], None] | None = None) -> None:
        self.journal.append(f"start {self.name}")
        if on_progress is not None:
            on_progress(0.5)
        text = self.config.model_path.read_text()
        if "slow" in text:
            await asyncio.Event().wait()
        if "bad" in text:
            raise ModelCorrupt(f"{self.name} is broken.")
        if "embeds" in text:
            self.kind = "embedding"

    async def close(self) -> None:
        self.journal.append(f"close {self.name}")

    def stats(self) -> EngineStats:
        return self.now

    def submit(self, request: GenerationRequest) -> str:
        return f"stream of {self.name}"

    def forget(self, session_id: str) -> None:
        self.forgotten.append(session_id)

    def focus(self, session_id: str | None) -> None:
        self.focused.append(session_id)

    def count_tokens(self, text: str) -> int:
        return len(text)

    def count_prompt(self, messages: list[ChatMessage]) -> int:
        return sum(len(message.content) for message in messages)


def write_models(folder: Path) -> dict[str, str]:
    """Paths by name: two good models, one that fails, one that loads until it is cancelled, one that cannot
    chat, and no model."""
    files = {"one": "GGUF", "two": "GGUF", "bad": "GGUF bad", "slow": "GGUF slow", "embeds": "GGUF embeds"}
    files["text"] = "hello"
    for name, content in files.items():
        (folder / f"{name}.gguf").write_text(content)
    return {name: str(folder / f"{name}.gguf") for name in files}
