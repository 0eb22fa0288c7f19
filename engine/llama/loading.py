"""Loads a model file, creates its context and reads its properties. What llama.cpp would answer with a crash
or an unclear log line is checked first."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Callable
from typing import Any

import psutil

from engine.config import EngineConfig, check_gguf
from engine.errors import ConfigError, LoadCancelled, ModelCorrupt, ModelError, ModelTooLarge
from engine.llama.header import HeaderDamaged, read_header
from engine.llama.lib import lib, recent_log
from engine.llama.placement import Placement

__all__ = [
    "allocated_cell_bytes",
    "cell_bytes",
    "check_kind",
    "check_memory",
    "description",
    "load_model",
    "lock_warning",
    "make_context",
    "make_pooling_context",
    "metadata",
    "offloaded_layers",
]


_FLASH = {"auto": -1, "off": 0, "on": 1}
_KV_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}  # enum ggml_type
_TYPE_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
_BLOCK = 32  # numbers of a quantised type that share a scale
_NO_MEMORY = re.compile(r"unable to allocate|failed to allocate|out of memory|cannot allocate memory", re.I)
_SIGNS = ("error loading model", "invalid value for main_gpu")
_BAD_SETTING = re.compile(r"main_gpu|regular expression|regex|split_mode|SPLIT_MODE", re.I)
_KV_CACHE = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB \( *(\d+) cells, .*?\d+/(\d+) seqs")


def load_model(config: EngineConfig, on_progress: Callable[[float], bool]) -> Any:
    """Load a model file.

    Args:
        on_progress: called with 0..1 on this thread; returning False stops the load.

    Raises:
        ModelNotFound, ModelCorrupt, ModelTooLarge, LoadCancelled
        ConfigError: the settings ask for a device or a tensor pattern that llama.cpp does not accept.
    """
    check_gguf(config.model_path)
    stopped = False

    def report(fraction: float, _: ctypes.c_void_p) -> bool:
        nonlocal stopped
        stopped = stopped or not on_progress(fraction)
        return not stopped

    params = lib.llama_model_default_params()
    placement = Placement(config)
    placement.apply(params)
    callback = lib.llama_progress_callback(report)
    params.progress_callback = callback
    recent_log.clear()
    model = lib.llama_model_load_from_file(str(config.model_path).encode(), params)
    if model:
        return model
    if stopped:
        raise LoadCancelled(f"Loading {config.model_path.name} was stopped.")
    reason = _reason()
    if _BAD_SETTING.search(reason):
        raise ConfigError(f"{config.model_path.name} cannot be loaded with these settings: {reason}.")
    if _NO_MEMORY.search(reason):
        where = "" if "CPU" in reason else " Fewer gpu_layers need less memory on the GPU."
        raise ModelTooLarge(
            f"{config.model_path.name} does not fit into memory: {reason}. Choose a smaller model or"
            f" quantisation.{where}"
        )
    advice = "" if "unknown" in reason else " The file is damaged or incomplete: download it again."
    raise ModelCorrupt(f"{config.model_path} cannot be loaded: {reason}.{advice}")


def check_kind(model: Any, memory: Any, name: str) -> None:
    """Refuse models that do not generate text token by token: embedders, encoder-decoders, diffusion models.

    Raises:
        ModelError: this is such a model.
    """
    if (
        not memory
        or lib.llama_model_has_encoder(model)
        or not lib.llama_model_has_decoder(model)
        or lib.llama_model_is_diffusion(model)
    ):
        raise ModelError(f"{name} is not a chat model: it does not write text token by token.")


def _reason() -> str:
    """The most informative of llama.cpp's last log lines."""
    said = [
        line
        for line in recent_log
        if "error loading model" in line or line.startswith("gguf_init") or _BAD_SETTING.search(line)
    ]
    specific = [line for line in said if "failed to load model from" not in line] or said
    if not specific:
        return "llama.cpp gave no reason"
    text = specific[0].split("error loading model: ")[-1]
    return re.sub(r"^\w+: ", "", text).rstrip(".")


def make_context(model: Any, config: EngineConfig, cells: int) -> Any:
    """A context with `cells` KV cells over the model.

    Raises:
        ModelTooLarge: there is not enough memory.
    """
    params = lib.llama_context_default_params()
    params.n_ctx = max(cells, config.batch_tokens)
    # One ubatch per llama_decode: a failed step changes nothing, and a cancel waits for one forward pass.
    params.n_batch = params.n_ubatch = config.batch_tokens
    params.n_seq_max = config.sequences
    params.n_outputs_max = config.sequences + config.draft_rows  # less than n_seq_max aborts the process
    if config.device_sampling != "off":
        params.n_outputs_max_per_seq = 1 + config.draft_rows
    params.n_threads = params.n_threads_batch = config.thread_count
    # llama.cpp refuses a quantised cache unless flash attention is certain.
    params.flash_attn_type = _FLASH["on" if config.kv_type != "f16" else config.flash_attention]
    params.type_k = params.type_v = _KV_TYPES[config.kv_type]
    params.kv_unified = not config.split_cache
    params.swa_full = True
    return _init_context(model, params)


def make_pooling_context(model: Any, config: EngineConfig, pooling: int, *, tokens: int, texts: int) -> Any:
    """A context that pools: up to `tokens` tokens of up to `texts` texts in one forward pass.

    Args:
        pooling: enum llama_pooling_type.

    Raises:
        ModelTooLarge: there is not enough memory.
    """
    params = lib.llama_context_default_params()
    # A text is pooled within one ubatch, and an encoder aborts the process on a batch of several.
    params.n_ctx = params.n_batch = params.n_ubatch = tokens
    params.n_seq_max = texts
    params.n_threads = params.n_threads_batch = config.thread_count
    params.flash_attn_type = _FLASH[config.flash_attention]
    params.pooling_type = pooling
    params.embeddings = True
    params.kv_unified = True
    return _init_context(model, params)


def _init_context(model: Any, params: Any) -> Any:
    params.no_perf = True
    recent_log.clear()
    context = lib.llama_init_from_model(model, params)
    if not context:
        raise ModelTooLarge(
            f"llama.cpp could not make a context of {params.n_ctx:,} tokens: {_last_error()}."
            " Lower context_tokens, or gpu_layers if the GPU is full."
        )
    return context


def _last_error() -> str:
    failed = [line for line in recent_log if "fail" in line or "error" in line]
    return re.sub(r"^\w+: ", "", failed[0]).rstrip(".") if failed else "no reason given"


def offloaded_layers() -> int:
    """GPU layers of the last loaded model, from llama.cpp's log."""
    for line in reversed(recent_log):
        if match := re.search(r"offloaded (\d+)/\d+ layers to GPU", line):
            return int(match[1])
    return 0


def lock_warning() -> str | None:
    """Why the weights of the last loaded model are not locked in RAM, from llama.cpp's log."""
    if any("failed to mlock" in line for line in recent_log):
        return "The weights could not be locked in RAM: raise the limit of locked memory (ulimit -l)."
    return None


def metadata(model: Any, key: str) -> str:
    """A value of the GGUF's header as text; empty if absent."""
    buffer = ctypes.create_string_buffer(512)
    length = lib.llama_model_meta_val_str(model, key.encode(), buffer, 512)
    return buffer.value.decode(errors="replace") if length > 0 else ""


def description(model: Any) -> str:
    """Architecture, size and quantisation."""
    buffer = ctypes.create_string_buffer(256)
    lib.llama_model_desc(model, buffer, 256)
    return buffer.value.decode(errors="replace")


def cell_bytes(config: EngineConfig) -> int:
    """Bytes of one KV cell, over all layers, by the header of the file. 0 if the header cannot be read.

    Raises:
        ConfigError: the heads of this model cannot be quantised.
    """
    try:
        header = read_header(config.model_path)
    except (HeaderDamaged, OSError):  # llama.cpp could read it all the same
        return 0
    arch = header.get("general.architecture")

    def of_model(key: str) -> Any:
        return header.get(f"{arch}.{key}", 0)

    def of_layer(key: str, layer: int) -> int:
        value = of_model(f"attention.{key}")
        return int(value[layer] if isinstance(value, list) else value)

    numbers = 0  # of all layers: K and V of each key-value head
    for layer in range(of_model("block_count")):
        heads = of_layer("head_count", layer)
        width = of_model("embedding_length") // heads if heads else 0
        sizes = [of_layer(part, layer) or width for part in ("key_length", "value_length")]
        if config.kv_type != "f16" and any(size % _BLOCK for size in sizes):
            raise ConfigError(
                f"{config.model_path.name} does not support a {config.kv_type} KV cache: its heads are"
                f" {sizes[0]} numbers wide, which is not a multiple of {_BLOCK}. Set kv_type to f16."
            )
        numbers += of_layer("head_count_kv", layer) * sum(sizes)
    return int(numbers * _TYPE_BYTES[config.kv_type])


def allocated_cell_bytes(expected: int) -> int:
    """Bytes of one KV cell of the context made last: `expected`, unless llama.cpp's log shows another size.

    The header is exact for the common kinds of models; the log, which rounds, is right for all.
    """
    found = [match for line in recent_log if (match := _KV_CACHE.match(line))]
    sizes = (
        float(mib) * 2**20 / (int(cells) * int(streams))
        for mib, cells, streams in (m.groups() for m in found)
    )
    measured = round(sum(sizes))
    return expected if not found or math.isclose(measured, expected, rel_tol=0.02) else measured


def check_memory(name: str, *, weights: int, kv_cache: int) -> None:
    """Refuse a model that does not fit this machine's RAM.

    Weights are mapped from the file and must fit the total RAM; the KV cache is allocated and must fit the
    free RAM.

    Args:
        name: the model's name, for the message.
        weights, kv_cache: sizes in bytes.

    Raises:
        ModelTooLarge: it does not fit; the message has the numbers.
    """
    memory = psutil.virtual_memory()
    if kv_cache <= memory.available and weights + kv_cache <= memory.total:
        return
    raise ModelTooLarge(
        f"{name} needs {weights / 2**30:.1f} GiB for its weights and {kv_cache / 2**30:.1f} GiB for the"
        f" context; of {memory.total / 2**30:.1f} GiB RAM, {memory.available / 2**30:.1f} are free."
        " Choose a smaller model or lower context_tokens."
    )
