"""What the memory needs from models, as Protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from memory.types import Turn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Embedder", "FactExtractor", "Reranker", "Summarizer", "TokenCounter", "Vectors"]

Vectors: TypeAlias = "NDArray[np.float32]"


class TokenCounter(Protocol):
    """Counts tokens as the loaded model does. Called from any thread; may block."""

    def count_text(self, text: str) -> int:
        """Tokens of plain text, without role marks."""
        ...

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        """Tokens of the rendered chat template, including the opening of the reply."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors. Called from any thread; may block."""

    @property
    def name(self) -> str:
        """Identifies the model and its preprocessing; vectors of different names cannot be compared."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def recipe(self) -> str:
        """How the application makes it again when another one is configured; the memory only stores it."""
        ...

    @property
    def ready(self) -> bool:
        """Whether `embed` can answer without loading a model first."""
        ...

    def start(self) -> None:
        """Load the model in the background; returns immediately."""
        ...

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """One row of length 1 per text: (len(texts), dimension).

        Args:
            query: the texts are questions, not passages: many models want to be told.

        Raises:
            EmbedderUnavailable: it cannot embed now.
            TextRefused: it can embed all texts but one.
        """
        ...

    def close(self) -> None:
        """Stop its worker."""
        ...


class Reranker(Protocol):
    """Reads a question together with each text. Called from any thread; may block."""

    @property
    def name(self) -> str:
        """The model, for people."""
        ...

    @property
    def ready(self) -> bool:
        """Whether `scores` can answer without loading a model first."""
        ...

    def start(self) -> None:
        """Load the model in the background; returns immediately."""
        ...

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the question; higher is better.

        Raises:
            RerankerUnavailable: it cannot score now.
        """
        ...

    def close(self) -> None:
        """Stop its worker."""
        ...


class Summarizer(Protocol):
    """Summarises texts. Called from any thread; blocks."""

    def summarise(self, texts: Sequence[str], *, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        """One summary of all the texts; `memory.summaries.prompt_for_summary` has a prompt for it.

        Args:
            texts: oldest first.
            max_tokens: limit for the summary.
            cancelled: polled while it works; once true, the work ends within a step.

        Raises:
            SummaryCancelled: `cancelled` became true.
        """
        ...


class FactExtractor(Protocol):
    """Lets a model answer in a given form. Called from any thread; blocks."""

    @property
    def model(self) -> str:
        """Identifies the model by its weights: another one has to be checked first. May block."""
        ...

    def extract(self, prompt: str, *, grammar: str, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        """The answer to a prompt, greedily sampled.

        Args:
            grammar: in llama.cpp's GBNF; the answer follows it.
            max_tokens: limit for the answer, which may be cut off there.
            cancelled: polled while it works; once true, the work ends within a step.

        Raises:
            ExtractionCancelled: `cancelled` became true, or there is no engine for it now.
        """
        ...
