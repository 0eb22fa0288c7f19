"""What the memory needs from a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from memory.types import Turn

__all__ = ["TokenCounter"]


class TokenCounter(Protocol):
    """Counts tokens as the loaded model does. Called from any thread; may block."""

    def count_text(self, text: str) -> int:
        """Tokens of plain text, without any role marks."""
        ...

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        """Tokens of the rendered chat template, the opening of the reply included."""
        ...
