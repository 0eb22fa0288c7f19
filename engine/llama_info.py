"""What llama.cpp knows of a loaded model."""

from __future__ import annotations

import ctypes
from typing import Any

from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.llamacpp import lib

__all__ = ["cell_bytes", "description", "metadata", "rolls_back"]

_TYPE_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
_BLOCK = 32  # numbers of a quantised type that share a scale


def metadata(model: Any, key: str) -> str:
    """A value of the GGUF's header as text; empty when there is none."""
    buffer = ctypes.create_string_buffer(512)
    length = lib.llama_model_meta_val_str(model, key.encode(), buffer, 512)
    return buffer.value.decode(errors="replace") if length > 0 else ""


def description(model: Any) -> str:
    """Architecture, size and quantisation."""
    buffer = ctypes.create_string_buffer(256)
    lib.llama_model_desc(model, buffer, 256)
    return buffer.value.decode(errors="replace")


def rolls_back(model: Any) -> bool:
    """Whether a sequence's memory can be cut in its middle: recurrent and hybrid models cannot."""
    return not (lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))


def cell_bytes(model: Any, config: EngineConfig) -> int:
    """Bytes of one KV cell.

    Raises:
        ConfigError: the heads of this model cannot be quantised.
    """
    layers = int(lib.llama_model_n_layer(model))
    heads = max(1, int(lib.llama_model_n_head(model)))
    head_size = int(lib.llama_model_n_embd(model)) // heads
    arch = metadata(model, "general.architecture")
    sizes = [
        int(metadata(model, f"{arch}.attention.{part}_length") or head_size) for part in ("key", "value")
    ]
    if config.kv_type != "f16" and any(size % _BLOCK for size in sizes):
        raise ConfigError(
            f"{config.model_path.name} cannot have a {config.kv_type} KV cache: its heads are {sizes[0]}"
            f" numbers wide, not a multiple of {_BLOCK}. Set kv_type to f16."
        )
    return int(layers * int(lib.llama_model_n_head_kv(model)) * sum(sizes) * _TYPE_BYTES[config.kv_type])
