"""Settings of an engine: one frozen value, validated in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import ConfigError

__all__ = ["EngineConfig"]

_MAX_SEQUENCES = 256  # LLAMA_MAX_SEQ
_MAX_SAMPLING_THREADS = 8
_SPLIT_SESSIONS = 16  # from this many on a split cache decodes faster
_SPLIT_TOKENS = 2048  # least useful context for one session in a split cache


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How a model is loaded and how many chats share it.

    Args:
        model_path: a GGUF file.
        max_sessions: requests served at the same time; more wait in the queue.
        cached_sessions: idle sessions whose KV cache is kept beside the active ones. A split layout keeps
            none: there each would take an equal part of the context away from the others.
        context_tokens: KV cells of all sessions together; 0 is 16,384, or four times the model's trained
            context if that is less. For a model that embeds or reranks: tokens of the longest text; 0 is
            2,048, or the trained context if that is less.
        max_queue: requests that may wait before `QueueFull`.
        batch_tokens: token budget of one step.
        step_target_ms: while a request decodes, prompts are split into chunks that keep a step near this;
            0 is 100 ms on a CPU and 50 ms on a GPU.
        gpu_layers: layers offloaded to a GPU; -1 is all, 0 none.
        threads: CPU threads; 0 is one per physical core this process may use.
        flash_attention: "auto" leaves it to llama.cpp.
        kv_type: number format of the KV cache; q8_0 takes half and q4_0 a quarter of the memory, and both
            need flash attention.
        kv_layout: "unified" shares all cells between the sessions; "split" gives each its own part, which
            decodes faster from 16 sessions on; "auto" chooses (see `split_cache`).
        parked_ram_mib, parked_disk_mib: room for KV states that had to leave the context.
        parked_folder: folder for those on disk; None keeps all in RAM.
        speculation: draft tokens from the session's own text and verify them in one step; "auto" does so
            where it has measured a gain.
        draft_tokens: limit on the tokens drafted at a time.
        sampling_threads: threads that sample when there are many rows; 0 is the same as `threads`, at most 8.
        chat_template: Jinja source that replaces the template in the GGUF.

    Raises:
        ConfigError: a value is out of range, or two contradict each other.
    """

    model_path: Path
    max_sessions: int = 8
    cached_sessions: int = 24
    context_tokens: int = 0
    max_queue: int = 64
    batch_tokens: int = 512
    step_target_ms: int = 0
    gpu_layers: int = -1
    threads: int = 0
    flash_attention: Literal["auto", "on", "off"] = "auto"
    kv_type: Literal["f16", "q8_0", "q4_0"] = "f16"
    kv_layout: Literal["auto", "unified", "split"] = "auto"
    parked_ram_mib: int = 1024
    parked_disk_mib: int = 4096
    parked_folder: Path | None = None
    speculation: Literal["auto", "on", "off"] = "auto"
    draft_tokens: int = 6
    sampling_threads: int = 0
    chat_template: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model_path", Path(self.model_path))
        self._between("max_sessions", 1, _MAX_SEQUENCES)
        self._between("cached_sessions", 0, _MAX_SEQUENCES)
        self._between("context_tokens", 0, 2**31 - 1)
        self._between("max_queue", 0, 100_000)
        self._between("batch_tokens", 32, 65_536)
        self._between("step_target_ms", 0, 60_000)
        self._between("gpu_layers", -1, 100_000)
        self._between("threads", 0, 1024)
        self._between("parked_ram_mib", 0, 2**30)
        self._between("parked_disk_mib", 0, 2**30)
        self._between("draft_tokens", 1, 64)
        self._between("sampling_threads", 0, 64)
        self._one_of("flash_attention", "auto", "on", "off")
        self._one_of("kv_type", "f16", "q8_0", "q4_0")
        self._one_of("kv_layout", "auto", "unified", "split")
        self._one_of("speculation", "auto", "on", "off")
        if self.kv_type != "f16" and self.flash_attention == "off":
            raise ConfigError(
                f"kv_type {self.kv_type} needs flash attention, but flash_attention is off:"
                " set it to auto or on, or kv_type to f16."
            )
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
    def split_cache(self) -> bool:
        """Whether the KV cache is split, with "auto" resolved.

        Splitting pays when many requests decode together, and only if each part is still a useful context.
        """
        if self.kv_layout != "auto":
            return self.kv_layout == "split"
        return (
            self.max_sessions >= _SPLIT_SESSIONS and self.context_tokens >= _SPLIT_TOKENS * self.max_sessions
        )

    @property
    def sequences(self) -> int:
        """llama.cpp sequence ids to reserve: for active and, in a unified cache, cached sessions."""
        if self.split_cache:
            return self.max_sessions
        return min(_MAX_SEQUENCES, self.max_sessions + self.cached_sessions)

    @property
    def draft_rows(self) -> int:
        """Drafted tokens a step may verify, all sequences together."""
        if self.speculation == "off":
            return 0
        return min(self.batch_tokens - self.sequences, 4 * self.draft_tokens)

    @property
    def thread_count(self) -> int:
        """Threads for llama.cpp, with 0 resolved for this machine."""
        import psutil  # not before a model is wanted: settings are read before the screen is drawn

        if self.threads:
            return self.threads
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))

    @property
    def sampling_thread_count(self) -> int:
        """Threads that sample, with 0 resolved."""
        return self.sampling_threads or min(_MAX_SAMPLING_THREADS, self.thread_count)

    def _between(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"{name} must be between {low} and {high}, not {value}.")

    def _one_of(self, name: str, *allowed: str) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
