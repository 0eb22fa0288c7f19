"""Loading a model while the screen lives: progress, cancelling, and the chats that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import LoadCancelled

if TYPE_CHECKING:
    from engine import ModelInfo
    from stevemin_chat.chats import Chats
    from stevemin_chat.models.current import CurrentModel

__all__ = ["ModelLoader"]


class ModelLoader:
    """At most one load at a time. Answers stop for a load; queued messages are sent after it.

    Args:
        on_change: called when `name` or `progress` has changed.

    Attributes:
        name: the model being loaded; None while none is.
        progress: 0 to 1.
    """

    def __init__(self, model: CurrentModel, chats: Chats, on_change: Callable[[], None]) -> None:
        self.name: str | None = None
        self.progress = 0.0
        self._model = model
        self._chats = chats
        self._on_change = on_change
        self._task: asyncio.Task[ModelInfo] | None = None
        self._asked = 0  # loads and cancels so far: a waiting load yields to a later one
        self._waiting = 0  # loads that wait for the one before them to stop

    async def load(self, name: str) -> ModelInfo | None:
        """Load a model, after cancelling the load under way. None when this load was cancelled.

        Raises:
            Exception: what the load raised; the application keeps the model it has, if any.
        """
        await self._model.check(name)  # first: an unknown name must not stop an answer or a load
        self._asked += 1
        asked = self._asked
        self._waiting += 1
        try:
            await self._stop()
        finally:
            self._waiting -= 1
        try:
            return await self._run(name) if asked == self._asked else None
        finally:
            self._resume()

    async def cancel(self) -> bool:
        """Stop the load under way, and those that wait for it to stop; False when there is none."""
        self._asked += 1
        return await self._stop()

    async def _stop(self) -> bool:
        task = self._task
        if task is None or task.done():
            return False
        if not task.cancelling():  # a second cancel would abandon an engine that is being closed
            task.cancel()
        await asyncio.wait([task])
        return True

    async def _run(self, name: str) -> ModelInfo | None:
        task = self._task = asyncio.create_task(self._load(name))
        try:
            return await asyncio.shield(task)
        except LoadCancelled:
            return None
        except asyncio.CancelledError:
            if task.cancelled():
                return None
            task.cancel()  # the caller was cancelled: the application ends
            raise

    async def _load(self, name: str) -> ModelInfo:
        self.name, self.progress = name, 0.0
        self._on_change()
        try:
            await self._chats.pause()
            info = await self._model.load(name, self._advance, reload=self._chats.answers.engine_down)
            self._chats.answers.engine_back()
            return info
        finally:
            self.name = None
            self._on_change()

    def _resume(self) -> None:
        """Let the chats answer, unless another load is under way or about to begin."""
        idle = self._task is None or self._task.done()
        if idle and not self._waiting:
            self._chats.resume()

    def _advance(self, progress: float) -> None:
        self.progress = progress
        self._on_change()
