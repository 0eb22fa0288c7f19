"""Settings of an engine: one frozen value, validated in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from engine.errors import ConfigError

__all__ = ["EngineConfig"]

_MAX_SEQUENCES = 256  # LLAMA_MAX_SEQ


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How a model is loaded and how many sessions share it.

    Args:
        model_path: a GGUF file.
        max_sessions: requests served at the same time; more wait in the queue.
        cached_sessions: idle sessions whose KV cache is kept besides the active ones.
        context_tokens: KV cells shared by all sessions; 0 is 16,384, or four times what the model was
            trained for where that is less.
        max_queue: requests that may wait before `QueueFull`.
        batch_tokens: token budget of one step.
        prefill_tokens: the prefill share of a step while other sessions decode; 0 is 64 on a CPU
            and `batch_tokens` on a GPU.
        gpu_layers: layers offloaded to a GPU; -1 is all of them, 0 none.
        threads: CPU threads; 0 is one per physical core this process may use.
        flash_attention: "auto" leaves it to llama.cpp.
        chat_template: Jinja source that replaces the one in the GGUF.

    Raises:
        ConfigError: a value is out of range, or two contradict each other.
    """

    model_path: Path
    max_sessions: int = 8
    cached_sessions: int = 24
    context_tokens: int = 0
    max_queue: int = 64
    batch_tokens: int = 512
    prefill_tokens: int = 0
    gpu_layers: int = -1
    threads: int = 0
    flash_attention: Literal["auto", "on", "off"] = "auto"
    chat_template: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model_path", Path(self.model_path))
        self._between("max_sessions", 1, _MAX_SEQUENCES)
        self._between("cached_sessions", 0, _MAX_SEQUENCES)
        self._between("context_tokens", 0, 2**31 - 1)
        self._between("max_queue", 0, 100_000)
        self._between("batch_tokens", 32, 65_536)
        self._between("prefill_tokens", 0, 65_536)
        self._between("gpu_layers", -1, 100_000)
        self._between("threads", 0, 1024)
        if self.sequences > self.batch_tokens:
            raise ConfigError(
                f"batch_tokens ({self.batch_tokens}) must be at least max_sessions + cached_sessions"
                f" ({self.sequences})."
            )
        if 0 < self.context_tokens < self.batch_tokens:
            raise ConfigError(
                f"context_tokens ({self.context_tokens}) must be at least batch_tokens ({self.batch_tokens})."
            )

    @property
    def sequences(self) -> int:
        """llama.cpp sequence ids to reserve: active and cached sessions together."""
        return min(_MAX_SEQUENCES, self.max_sessions + self.cached_sessions)

    @property
    def thread_count(self) -> int:
        """Threads for llama.cpp, with 0 resolved for this machine."""
        if self.threads:
            return self.threads
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))

    def _between(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"{name} must be between {low} and {high}, not {value}.")
