"""The backend on llama.cpp: loading a model (`loading`), one forward pass per step (`backend`, `batch`),
the KV cache (`memory`), the vocabulary (`vocab`) and the choice of tokens (`sampler`, `chains`, `topk`).
`lib` is the only importer of the binding. Names load when they are used: importing this package loads
neither llama.cpp nor numpy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.llama.backend import LlamaBackend
    from engine.llama.lib import supports_gpu_offload, system_info

__all__ = ["LlamaBackend", "supports_gpu_offload", "system_info"]

_LAZY = {
    "LlamaBackend": "engine.llama.backend",
    "supports_gpu_offload": "engine.llama.lib",
    "system_info": "engine.llama.lib",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
