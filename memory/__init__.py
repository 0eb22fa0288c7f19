"""Keeps chats and everything learned from them, and assembles the prompts a model sees.

`Memory` is the one entrance: sessions and messages, long-term memory, search, and context. It knows neither
the engine nor the screen; models come in through the Protocols `TokenCounter`, `Summarizer`, `FactExtractor`,
`Embedder` and `Reranker`.
Importing the package loads values, errors and Protocols only; the store and the rest come with `Memory`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memory.errors import (
    BackupDamaged,
    BudgetTooSmall,
    ContextError,
    CounterMissing,
    DiskFull,
    DocumentNotFound,
    EmbedderUnavailable,
    ExtractionCancelled,
    FactNotFound,
    IndexUnavailable,
    InvalidFact,
    InvalidImport,
    InvalidTitle,
    KeywordIndexDamaged,
    MemoryNotFound,
    MessageNotFound,
    RerankerUnavailable,
    SessionNotFound,
    StoreError,
    StoreInUse,
    StoreUnavailable,
    SummaryCancelled,
    TextRefused,
    UnknownStrategy,
)
from memory.ports import Embedder, FactExtractor, Reranker, Summarizer, TokenCounter
from memory.reports import (
    AssembledContext,
    Budget,
    ContextReport,
    DocumentsReport,
    Dropped,
    FactsCheck,
    IndexState,
    IndexStatus,
    LayerReport,
    MemoryStats,
    Recall,
    SearchCounts,
)
from memory.types import (
    HEAD,
    KEEP,
    Document,
    Entity,
    EntityKind,
    Fact,
    FactKind,
    Forgotten,
    Imported,
    Message,
    Origin,
    PromptSources,
    Quoted,
    QuoteOrigin,
    ReplyStatus,
    Role,
    Scope,
    SessionRecord,
    Sources,
    Speaker,
    Status,
    Summary,
    Turn,
)

if TYPE_CHECKING:
    from memory.context import STRATEGIES
    from memory.documents import MemoryDocuments
    from memory.long_term import LongTermMemory
    from memory.memory import Memory
    from memory.storage import Contents, back_up, inspect_backup, restore

__all__ = [
    "HEAD",
    "KEEP",
    "STRATEGIES",
    "AssembledContext",
    "BackupDamaged",
    "Budget",
    "BudgetTooSmall",
    "Contents",
    "ContextError",
    "ContextReport",
    "CounterMissing",
    "DiskFull",
    "Document",
    "DocumentNotFound",
    "DocumentsReport",
    "Dropped",
    "Embedder",
    "EmbedderUnavailable",
    "Entity",
    "EntityKind",
    "ExtractionCancelled",
    "Fact",
    "FactExtractor",
    "FactKind",
    "FactNotFound",
    "FactsCheck",
    "Forgotten",
    "Imported",
    "IndexState",
    "IndexStatus",
    "IndexUnavailable",
    "InvalidFact",
    "InvalidImport",
    "InvalidTitle",
    "KeywordIndexDamaged",
    "LayerReport",
    "LongTermMemory",
    "Memory",
    "MemoryDocuments",
    "MemoryNotFound",
    "MemoryStats",
    "Message",
    "MessageNotFound",
    "Origin",
    "PromptSources",
    "QuoteOrigin",
    "Quoted",
    "Recall",
    "ReplyStatus",
    "Reranker",
    "RerankerUnavailable",
    "Role",
    "Scope",
    "SearchCounts",
    "SessionNotFound",
    "SessionRecord",
    "Sources",
    "Speaker",
    "Status",
    "StoreError",
    "StoreInUse",
    "StoreUnavailable",
    "Summarizer",
    "Summary",
    "SummaryCancelled",
    "TextRefused",
    "TokenCounter",
    "Turn",
    "UnknownStrategy",
    "back_up",
    "inspect_backup",
    "restore",
]

_LAZY = {"LongTermMemory": "memory.long_term", "Memory": "memory.memory", "STRATEGIES": "memory.context"}
_LAZY["MemoryDocuments"] = "memory.documents"
_LAZY |= dict.fromkeys(("Contents", "back_up", "inspect_backup", "restore"), "memory.storage")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
