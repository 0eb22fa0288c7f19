"""What chats need from the application: a source of text, a store, and how each chat asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from engine.types import SamplingParams
from memory import Budget

if TYPE_CHECKING:
    from engine.types import FinishReason, GenerationRequest, Timings, TokenChunk
    from memory import Memory, SessionRecord

__all__ = ["ChatBackend", "SessionSettings", "TextSource", "TextStream"]

_DEFAULT_REPLY_TOKENS = 1024


class TextStream(Protocol):
    """A reply being generated: chunks, then how it ended."""

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
    """Where replies come from: the engine in this process, or whatever replaces it."""

    @property
    def load(self) -> float:
        """How busy the source is, from 0 (idle) to 1 (full). Never blocks; call it from any thread."""
        ...

    def submit(self, request: GenerationRequest) -> TextStream:
        """Never blocks; the stream raises what is wrong with the request."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How a chat asks.

    Args:
        context_tokens: the most that prompt and reply may take together.
        model: the name stored with each reply.
        strategy: name of the context strategy.
        sampling: max_tokens None lets a reply take what the prompt leaves of the context.
        system_prompt: for chats without one of their own.
        reply_tokens: context reserved for the reply; None reserves max_tokens, else a quarter of the
            context up to 1,024. Never more than half of the context.
    """

    context_tokens: int
    model: str
    strategy: str = "hierarchical"
    sampling: SamplingParams = field(default_factory=SamplingParams)
    system_prompt: str | None = None
    reply_tokens: int | None = None

    @property
    def budget(self) -> Budget:
        """What the prompt may take."""
        wanted = self.reply_tokens or self.sampling.max_tokens
        reserve = wanted or min(_DEFAULT_REPLY_TOKENS, self.context_tokens // 4)
        reserve = min(reserve, self.context_tokens // 2)
        return Budget(self.context_tokens - reserve, reserve)


class ChatBackend(Protocol):
    """The engine and the store as `Chats` see them; the runtime is one."""

    @property
    def memory(self) -> Memory:
        """The store; its methods block."""
        ...

    def source(self) -> TextSource:
        """Where the next reply comes from. Raises NoModelLoaded."""
        ...

    @property
    def has_model(self) -> bool:
        """Whether a model is loaded."""
        ...

    def session_settings(self, record: SessionRecord) -> SessionSettings:
        """How a chat asks the loaded model.

        Raises:
            NoModelLoaded, engine.EngineClosed
        """
        ...

    async def create_session(self, title: str) -> SessionRecord:
        """Store a new chat. Raises memory.StoreError."""
        ...

    async def delete_session(self, session_id: str) -> None:
        """Delete a chat from the store and its KV cache from the engine. Raises memory.StoreError."""
        ...

    def focus(self, session_id: str | None) -> None:
        """Serve this chat before the others; None favours none. Never blocks."""
        ...
