"""Loading a model while the screen lives: progress, cancelling, and what waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import LoadCancelled

if TYPE_CHECKING:
    from engine import ModelInfo
    from stevemin_chat.chats.chats import Chats
    from stevemin_chat.runtime import Runtime

__all__ = ["ModelLoader"]


class ModelLoader:
    """At most one load at a time; answers are stopped for it and queued messages go on after it.

    Attributes:
        name: the model being loaded; None while none is.
        progress: 0 to 1.
    """

    def __init__(self, runtime: Runtime, chats: Chats, on_change: Callable[[], None]) -> None:
        self.name: str | None = None
        self.progress = 0.0
        self._runtime = runtime
        self._chats = chats
        self._on_change = on_change
        self._task: asyncio.Task[ModelInfo] | None = None

    async def load(self, name: str) -> ModelInfo | None:
        """Load a model; a load that is under way is cancelled first. None when this one was cancelled.

        Raises:
            Exception: whatever the load raised; the application goes on with the model it has, if any.
        """
        await self.cancel()
        task = self._task = asyncio.create_task(self._load(name))
        try:
            return await asyncio.shield(task)
        except LoadCancelled:
            return None
        except asyncio.CancelledError:
            if task.cancelled():
                return None
            task.cancel()  # whoever waited was cancelled: the application ends
            raise

    async def cancel(self) -> bool:
        """Stop the load under way; False when there is none."""
        task = self._task
        if task is None or task.done():
            return False
        task.cancel()
        await asyncio.wait([task])
        return True

    async def _load(self, name: str) -> ModelInfo:
        self.name, self.progress = name, 0.0
        self._on_change()
        try:
            # A name that leads nowhere must not cost anyone an answer.
            await asyncio.to_thread(self._runtime.catalogue.resolve, name, self._runtime.paths.models_dir)
            await self._chats.pause()
            info = await self._runtime.load_model(name, self._advance, reload=self._chats.engine_down)
            self._chats.engine_down = False
            return info
        finally:
            self.name = None
            self._on_change()
            self._chats.resume()

    def _advance(self, progress: float) -> None:
        self.progress = progress
        self._on_change()
