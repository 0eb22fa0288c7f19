"""Inference: many chat sessions at once from one llama.cpp model, with continuous batching."""

from __future__ import annotations

import logging

from engine.config import EngineConfig
from engine.engine import Engine
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
)
from engine.step import ModelInfo
from engine.stream import TokenStream
from engine.types import (
    ChatMessage,
    EngineStats,
    FinishReason,
    GenerationRequest,
    Priority,
    RequestPhase,
    RequestStats,
    Role,
    SamplingParams,
    Timings,
    TokenChunk,
)

__all__ = [
    "ChatMessage",
    "ConfigError",
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
    "RequestError",
    "RequestPhase",
    "RequestStats",
    "Role",
    "SamplingParams",
    "TemplateError",
    "Timings",
    "TokenChunk",
    "TokenStream",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # llama.cpp's lines are not for the terminal
