"""What is kept of the chats, and what of it a model gets to see."""

from __future__ import annotations

from memory.errors import (
    BudgetTooSmall,
    ContextError,
    CounterMissing,
    DiskFull,
    InvalidTitle,
    MessageNotFound,
    SessionNotFound,
    StoreError,
    StoreUnavailable,
    UnknownStrategy,
)
from memory.ports import TokenCounter
from memory.store import Memory
from memory.strategies import STRATEGIES
from memory.types import (
    HEAD,
    KEEP,
    AssembledContext,
    Budget,
    ContextReport,
    Dropped,
    LayerReport,
    Message,
    Recall,
    ReplyStatus,
    Role,
    SessionRecord,
    Status,
    Turn,
)

__all__ = [
    "HEAD",
    "KEEP",
    "STRATEGIES",
    "AssembledContext",
    "Budget",
    "BudgetTooSmall",
    "ContextError",
    "ContextReport",
    "CounterMissing",
    "DiskFull",
    "Dropped",
    "InvalidTitle",
    "LayerReport",
    "Memory",
    "Message",
    "MessageNotFound",
    "Recall",
    "ReplyStatus",
    "Role",
    "SessionNotFound",
    "SessionRecord",
    "Status",
    "StoreError",
    "StoreUnavailable",
    "TokenCounter",
    "Turn",
    "UnknownStrategy",
]
