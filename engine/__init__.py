"""Inference: one llama.cpp model serves many chats at once, with continuous batching.

The package owns everything between a list of messages and the text of an answer: the async door (`Engine`),
its thread (`worker`) and the step loop there (`core`, with the plan and result it exchanges in `step`;
`embedding` for models that embed or rerank), the values that cross the border (`types`, `errors`, `config`,
`stream`) and its measurements (`metrics`, `devices`). Its rooms are `text`, `schedule`, `kv`, `grammar` and
`llama`. Importing this package is cheap: llama.cpp, numpy and Jinja are loaded with the first model, `Engine`
itself at its first use.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.config import EngineConfig, check_gguf
from engine.errors import (
    ConfigError,
    EngineClosed,
    EngineCrashed,
    EngineError,
    GenerationFailed,
    InvalidRequest,
    LoadCancelled,
    ModelCorrupt,
    ModelError,
    ModelNotFound,
    ModelTooLarge,
    PromptTooLong,
    QueueFull,
    RequestError,
    TemplateError,
    TextTooLong,
)
from engine.types import (
    Channel,
    ChatMessage,
    Embeddings,
    EngineStats,
    FinishReason,
    GenerationRequest,
    Priority,
    RequestPhase,
    RequestStats,
    Reranking,
    Role,
    SamplingParams,
    Timings,
    TokenChunk,
    TokenLogprob,
    ToolCall,
)

if TYPE_CHECKING:
    from engine.engine import Engine
    from engine.step import ModelInfo, ReplyFormat
    from engine.stream import TokenStream

__all__ = [
    "Channel",
    "ChatMessage",
    "ConfigError",
    "Embeddings",
    "Engine",
    "EngineClosed",
    "EngineConfig",
    "EngineCrashed",
    "EngineError",
    "EngineStats",
    "FinishReason",
    "GenerationFailed",
    "GenerationRequest",
    "InvalidRequest",
    "LoadCancelled",
    "ModelCorrupt",
    "ModelError",
    "ModelInfo",
    "ModelNotFound",
    "ModelTooLarge",
    "Priority",
    "PromptTooLong",
    "QueueFull",
    "ReplyFormat",
    "RequestError",
    "RequestPhase",
    "RequestStats",
    "Reranking",
    "Role",
    "SamplingParams",
    "TemplateError",
    "TextTooLong",
    "Timings",
    "TokenChunk",
    "TokenLogprob",
    "TokenStream",
    "ToolCall",
    "check_gguf",
]

_LAZY = {
    "Engine": "engine.engine",
    "ModelInfo": "engine.step",
    "ReplyFormat": "engine.step",
    "TokenStream": "engine.stream",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())  # keeps llama.cpp's log lines off the terminal


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
