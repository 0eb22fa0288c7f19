"""Settings of an engine: one frozen value, validated in one place; and the check of the file it names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from engine.errors import ConfigError, ModelCorrupt, ModelNotFound, shown

__all__ = ["EngineConfig", "check_gguf"]

_MAX_SEQUENCES = 256  # LLAMA_MAX_SEQ
_MAX_SAMPLING_THREADS = 8
_SPLIT_SESSIONS = 16  # from this many on a split cache decodes faster
_LIVE = {  # what a running engine can change
    "max_sessions",
    "max_queue",
    "step_target_ms",
    "threads",
    "speculation",
    "draft_tokens",
    "sampling_threads",
    "parked_ram_mib",
}
_LARGEST_SHARE = 1e30
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
        split_mode: how several GPUs share the model: "none" (main_gpu alone), by "layer", by "row", or with
            tensor parallelism ("tensor").
        tensor_split: the GPUs' shares of the model, in any unit; empty: by their free memory.
        main_gpu: the GPU for "none", and for small tensors with "row".
        cpu_experts: layers whose experts stay on the CPU, from the first on; -1 is all, 0 none. Other
            weights of a mixture-of-experts model are used for every token and gain more from a GPU.
        tensor_overrides: further exceptions, each as PATTERN=BUFFER: a regular expression for names of
            tensors, and the name that llama.cpp gives a device's memory, such as CPU or CUDA0.
        load_mode: how the file is read: "mmap" maps it, "mlock" keeps it in RAM, "mmap+mlock" does both,
            "none" copies it, "direct_io" copies it past the page cache; "auto" leaves it to llama.cpp.
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
        device_sampling: whether llama.cpp samples as part of the forward pass, so that tokens come back from
            a GPU instead of logits; "auto" measures on a GPU, while the model is loaded, whether that is
            faster. Only plain chains: top-k, top-p, min-p and temperature.
        sampling_threads: threads that sample when there are many rows; 0 is the same as `threads`, at most 8.
        chat_template: Jinja source that replaces the template in the GGUF.
        reasoning_marks: the texts that open and close what the model thinks; None: as in its chat template.
        tool_format: how the model writes calls (a name in `engine.text.CALL_FORMATS`); None: as its chat
            template tells, empty: it calls no tools.

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
    split_mode: Literal["none", "layer", "row", "tensor"] = "layer"
    tensor_split: tuple[float, ...] = ()
    main_gpu: int = 0
    cpu_experts: int = 0
    tensor_overrides: tuple[str, ...] = ()
    load_mode: Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "direct_io"] = "auto"
    threads: int = 0
    flash_attention: Literal["auto", "on", "off"] = "auto"
    kv_type: Literal["f16", "q8_0", "q4_0"] = "f16"
    kv_layout: Literal["auto", "unified", "split"] = "auto"
    parked_ram_mib: int = 1024
    parked_disk_mib: int = 4096
    parked_folder: Path | None = None
    speculation: Literal["auto", "on", "off"] = "auto"
    draft_tokens: int = 6
    device_sampling: Literal["auto", "on", "off"] = "off"
    sampling_threads: int = 0
    chat_template: str | None = None
    reasoning_marks: tuple[str, str] | None = None
    tool_format: str | None = None

    def __post_init__(self) -> None:
        self._check_paths()
        self._between("max_sessions", 1, _MAX_SEQUENCES)
        self._between("cached_sessions", 0, _MAX_SEQUENCES)
        self._between("context_tokens", 0, 2**31 - 1)
        self._between("max_queue", 0, 100_000)
        self._between("batch_tokens", 32, 65_536)
        self._between("step_target_ms", 0, 60_000)
        self._between("gpu_layers", -1, 100_000)
        self._between("main_gpu", 0, 63)
        self._between("cpu_experts", -1, 1000)
        self._between("threads", 0, 1024)
        self._between("parked_ram_mib", 0, 2**30)
        self._between("parked_disk_mib", 0, 2**30)
        self._between("draft_tokens", 1, 64)
        self._between("sampling_threads", 0, 64)
        self._one_of("split_mode", "none", "layer", "row", "tensor")
        self._one_of("load_mode", "auto", "none", "mmap", "mlock", "mmap+mlock", "direct_io")
        self._one_of("flash_attention", "auto", "on", "off")
        self._one_of("kv_type", "f16", "q8_0", "q4_0")
        self._one_of("kv_layout", "auto", "unified", "split")
        self._one_of("speculation", "auto", "on", "off")
        self._one_of("device_sampling", "auto", "on", "off")
        self._check_placement()
        self._check_text_settings()
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

    def reload_for(self, other: EngineConfig) -> tuple[str, ...]:
        """The settings in which `other` differs and that an engine loaded with these cannot change.

        More sessions than there are sequences to serve and idle ones together need another context, too.
        """
        changed = [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]
        needed = [name for name in changed if name not in _LIVE]
        if other.max_sessions > self.sequences or other.split_cache != self.split_cache:
            needed.append("max_sessions")
        return tuple(dict.fromkeys(needed))

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
        """Drafted tokens a step may verify, all sequences together; also while speculation is off, which a
        running engine can change."""
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

    def _check_paths(self) -> None:
        for name in ("model_path", "parked_folder"):
            value = getattr(self, name)
            if value is None and name == "parked_folder":
                continue
            try:
                path = Path(value)
            except TypeError:
                raise ConfigError(f"{name} must be a path, not {shown(value)}.") from None
            object.__setattr__(self, name, path)

    def _check_placement(self) -> None:
        self._many("tensor_split", (int, float), "numbers")
        self._many("tensor_overrides", (str,), "texts")
        if any(not 0 <= share <= _LARGEST_SHARE for share in self.tensor_split):
            raise ConfigError(f"tensor_split must be numbers from 0 on, not {shown(self.tensor_split)}.")
        for override in self.tensor_overrides:
            pattern, equals, buffer = override.rpartition("=")
            if not (equals and pattern and buffer.strip()) or "\0" in override:
                raise ConfigError(f"tensor_overrides are written PATTERN=BUFFER, not {override!r}.")
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(f"tensor_overrides: {pattern!r} is no pattern: {error}.") from error

    def _check_text_settings(self) -> None:
        for name in ("chat_template", "tool_format"):
            if not isinstance(getattr(self, name), str | None):
                raise ConfigError(f"{name} must be a text, not {shown(getattr(self, name))}.")
        if self.reasoning_marks is not None:
            self._many("reasoning_marks", (str,), "texts")
            if len([*filter(None, self.reasoning_marks)]) != 2:
                raise ConfigError(
                    "reasoning_marks must be two texts, the one that opens what the model thinks and the one"
                    f" that closes it, not {shown(self.reasoning_marks)}."
                )

    def _many(self, name: str, kinds: tuple[type, ...], plural: str) -> None:
        """Make a tuple of a setting that has several values."""
        values = getattr(self, name)
        if not isinstance(values, list | tuple) or any(type(value) not in kinds for value in values):
            raise ConfigError(f"{name} must be a list of {plural}, not {shown(values)}.")
        object.__setattr__(self, name, tuple(values))

    def _between(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if type(value) is not int or not low <= value <= high:
            raise ConfigError(f"{name} must be between {low} and {high}, not {shown(value)}.")

    def _one_of(self, name: str, *allowed: str) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {shown(value)}.")


def check_gguf(path: Path) -> None:
    """Check that a model's file can be read and is a GGUF.

    Raises:
        ModelNotFound: it does not exist or cannot be read.
        ModelCorrupt: it is not a GGUF file.
    """
    if os.path.isdir(path):  # unlike Path.is_dir, False for a name that is too long
        raise ModelNotFound(f"{path} is a folder, not a GGUF file.")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except PermissionError as error:
        raise ModelNotFound(f"{path} cannot be read: {error.strerror}.") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise ModelNotFound(f"No file {path}.") from error
    if magic != b"GGUF":
        raise ModelCorrupt(f"{path} is not a GGUF file (it does not start with the letters GGUF).")
