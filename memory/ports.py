"""What the memory needs from models and from a vector index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from memory.types import Turn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Embedder", "Summarizer", "TokenCounter", "VectorIndex", "Vectors"]

Vectors: TypeAlias = "NDArray[np.float32]"


class TokenCounter(Protocol):
    """Counts tokens as the loaded model does. Called from any thread; may block."""

    def count_text(self, text: str) -> int:
        """Tokens of plain text, without any role marks."""
        ...

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        """Tokens of the rendered chat template, the opening of the reply included."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors. Called from any thread; may block."""

    @property
    def name(self) -> str:
        """Identifies the model and what is done to texts; vectors of another name cannot be compared."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def ready(self) -> bool:
        """Whether `embed` would answer without loading a model first."""
        ...

    def start(self) -> None:
        """Load the model in the background; returns at once."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 per text: (len(texts), dimension).

        Raises:
            EmbedderUnavailable: not now.
            TextRefused: not with this one text among them.
        """
        ...

    def close(self) -> None:
        """End whatever runs for it."""
        ...


class VectorIndex(Protocol):
    """Finds passages by their vectors. Called from any thread; may block.

    Raises (every method):
        IndexUnavailable: it cannot serve; keywords have to do.
    """

    def search(self, vector: Vectors, count: int) -> list[tuple[int, float]]:
        """Passage ids and their cosine similarity, the most similar first."""
        ...

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        """Enter passages; ids that are there get the new vector."""
        ...

    def remove(self, ids: Sequence[int]) -> None:
        """Take passages out; when it returns, their vectors are in no file any more."""
        ...

    def ids(self) -> set[int]:
        """All passages it has."""
        ...

    def clear(self) -> None:
        """Take everything out, as `remove` does."""
        ...

    def close(self) -> None:
        """Let go of its files."""
        ...


class Summarizer(Protocol):
    """Says in short what texts say. Called from any thread; blocks."""

    def summarise(self, texts: Sequence[str], *, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        """A summary of the texts taken together, oldest first; `memory.digest` has a prompt for it.

        Args:
            max_tokens: it must not be longer.
            cancelled: asked again and again; once it says yes, the work ends within a step.

        Raises:
            SummaryCancelled: `cancelled` said yes.
        """
        ...
