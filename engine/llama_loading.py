"""From a file to a model and its context."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

from engine.batch import BatchArrays
from engine.config import EngineConfig
from engine.errors import LoadCancelled, ModelCorrupt, ModelError, ModelTooLarge
from engine.fit import check_file
from engine.llamacpp import lib, recent_log

__all__ = ["check_kind", "load_model", "make_context", "offloaded_layers", "raw_batch"]

_FLASH = {"auto": -1, "off": 0, "on": 1}
_KV_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}  # enum ggml_type


def load_model(config: EngineConfig, on_progress: Callable[[float], bool]) -> Any:
    """Load a model file.

    Args:
        on_progress: called with 0..1 on this thread; returning False stops the load.

    Raises:
        ModelNotFound, ModelCorrupt, LoadCancelled
    """
    check_file(config.model_path)
    stopped = False

    def report(fraction: float, _: ctypes.c_void_p) -> bool:
        nonlocal stopped
        stopped = stopped or not on_progress(fraction)
        return not stopped

    params = lib.llama_model_default_params()
    params.n_gpu_layers = config.gpu_layers
    callback = lib.llama_progress_callback(report)
    params.progress_callback = callback
    recent_log.clear()
    model = lib.llama_model_load_from_file(str(config.model_path).encode(), params)
    if model:
        return model
    if stopped:
        raise LoadCancelled(f"Loading {config.model_path.name} was stopped.")
    reason = _reason()
    advice = "" if "unknown" in reason else " The file is damaged or incomplete: get it again."
    raise ModelCorrupt(f"{config.model_path} cannot be loaded: {reason}.{advice}")


def check_kind(model: Any, memory: Any, name: str) -> None:
    """Refuse models that generate no text token by token: embedders, encoder-decoders, diffusion."""
    if (
        not memory
        or lib.llama_model_has_encoder(model)
        or not lib.llama_model_has_decoder(model)
        or lib.llama_model_is_diffusion(model)
    ):
        raise ModelError(f"{name} is not a model to chat with: it does not write text token by token.")


def _reason() -> str:
    """The most telling of llama.cpp's last log lines."""
    said = [line for line in recent_log if "error loading model" in line or line.startswith("gguf_init")]
    specific = [line for line in said if "failed to load model from" not in line] or said
    if not specific:
        return "llama.cpp gave no reason"
    text = specific[0].split("error loading model: ")[-1]
    return re.sub(r"^\w+: ", "", text).rstrip(".")


def make_context(model: Any, config: EngineConfig, cells: int) -> Any:
    """A context of so many KV cells over the model.

    Raises:
        ModelTooLarge: there is no memory for it.
    """
    params = lib.llama_context_default_params()
    params.n_ctx = max(cells, config.batch_tokens)
    # One ubatch per llama_decode: a failed step changes nothing, a cancel waits for one forward.
    params.n_batch = params.n_ubatch = config.batch_tokens
    params.n_seq_max = config.sequences
    params.n_outputs_max = config.sequences + config.draft_rows  # fewer than n_seq_max aborts the process
    params.n_threads = params.n_threads_batch = config.thread_count
    # llama.cpp refuses a quantised cache unless flash attention is certain.
    params.flash_attn_type = _FLASH["on" if config.kv_type != "f16" else config.flash_attention]
    params.type_k = params.type_v = _KV_TYPES[config.kv_type]
    params.kv_unified = not config.split_cache
    params.swa_full = True
    params.no_perf = True
    recent_log.clear()
    context = lib.llama_init_from_model(model, params)
    if not context:
        raise ModelTooLarge(
            f"llama.cpp could not make a context of {cells:,} tokens: {_last_error()}."
            " Lower context_tokens, or gpu_layers if the GPU is full."
        )
    return context


def _last_error() -> str:
    failed = [line for line in recent_log if "fail" in line or "error" in line]
    return re.sub(r"^\w+: ", "", failed[0]).rstrip(".") if failed else "no reason given"


def offloaded_layers() -> int:
    """Layers of the model loaded last that are on a GPU, as llama.cpp said."""
    for line in reversed(recent_log):
        if match := re.search(r"offloaded (\d+)/\d+ layers to GPU", line):
            return int(match[1])
    return 0


def raw_batch(arrays: BatchArrays) -> Any:
    """A llama_batch over the arrays' memory; the arrays must outlive it."""
    raw: Any = lib.llama_batch()
    raw.token = arrays.token.ctypes.data_as(ctypes.POINTER(lib.llama_token))
    raw.pos = arrays.pos.ctypes.data_as(ctypes.POINTER(lib.llama_pos))
    raw.n_seq_id = arrays.n_seq_id.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    raw.seq_id = ctypes.cast(
        arrays.seq_id_pointers.ctypes.data, ctypes.POINTER(ctypes.POINTER(lib.llama_seq_id))
    )
    raw.logits = arrays.logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
    return raw
