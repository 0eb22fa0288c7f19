"""The one small port through which a session asks for text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from engine.types import FinishReason, GenerationRequest, Timings, TokenChunk

__all__ = ["TextSource", "TextStream"]


class TextStream(Protocol):
    """A reply in the making: chunks, then how it ended."""

    @property
    def finish_reason(self) -> FinishReason | None:
        """None until the stream has ended."""
        ...

    @property
    def timings(self) -> Timings:
        """What the request cost; complete when the stream has ended."""
        ...

    def __aiter__(self) -> AsyncIterator[TokenChunk]: ...

    def cancel(self) -> None:
        """End the stream soon, with `FinishReason.CANCELLED`."""
        ...


class TextSource(Protocol):
    """Where replies come from: the engine in this process, or what stands in its place."""

    @property
    def load(self) -> float:
        """How busy it is, from 0 (idle) to 1 (no room for another request). Any thread; never blocks."""
        ...

    def submit(self, request: GenerationRequest) -> TextStream:
        """Never blocks; what is wrong with the request is raised by the stream."""
        ...
