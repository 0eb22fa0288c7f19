"""The backend on llama.cpp: loading a model (`loading`, with the header of its file in `header` and the
devices that hold it in `placement`), one forward pass per step (`backend`, `batch`), the KV cache (`memory`),
the vocabulary (`vocab`) and the choice of tokens (`sampler`, `chains`, `topk`, `device_sampler`); `embedding`
runs models that pool texts into vectors. `lib` is the only importer of the binding. Importing this room loads
llama.cpp and numpy: the engine does so with the first model."""

from __future__ import annotations

from engine.llama.backend import LlamaBackend
from engine.llama.embedding import LlamaEmbedder, PooledModel, Pooling, pooled_model, pooling_of
from engine.llama.lib import supports_gpu_offload, system_info

__all__ = [
    "LlamaBackend",
    "LlamaEmbedder",
    "PooledModel",
    "Pooling",
    "pooled_model",
    "pooling_of",
    "supports_gpu_offload",
    "system_info",
]
