"""From a chat to the prompt for its next reply.

Owns the context strategies, the division of a prompt into layers, the measuring of tokens, and the report
on what went in and what was left out.
"""

from memory.context.base import ContextInput
from memory.context.builder import ContextBuilder
from memory.context.compose import Shares
from memory.context.counting import CachedCounter
from memory.context.strategies import STRATEGIES, HierarchicalStrategy, find_strategy

__all__ = [
    "STRATEGIES",
    "CachedCounter",
    "ContextBuilder",
    "ContextInput",
    "HierarchicalStrategy",
    "Shares",
    "find_strategy",
]
