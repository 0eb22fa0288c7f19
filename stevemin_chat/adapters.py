"""The engine as the memory and the chats want to see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine import ChatMessage, Engine, GenerationRequest
from memory import Turn
from stevemin_chat.errors import NoModelLoaded
from stevemin_chat.session import TextStream

__all__ = ["CurrentEngine", "EngineCounter"]


class EngineCounter:
    """Counts with the loaded model's tokenizer; the memory's `TokenCounter`. Blocking, thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def count_text(self, text: str) -> int:
        return self._engine.count_tokens(text)

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        return self._engine.count_prompt([ChatMessage(turn.role, turn.content) for turn in messages])


class CurrentEngine:
    """The text port to whichever engine is loaded now; a chat survives a change of model by it."""

    def __init__(self, current: Callable[[], Engine | None]) -> None:
        self._current = current

    def submit(self, request: GenerationRequest) -> TextStream:
        """Raises NoModelLoaded while there is no engine."""
        engine = self._current()
        if engine is None:
            raise NoModelLoaded
        return engine.submit(request)
