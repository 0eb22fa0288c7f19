"""Keeps one streaming reply on disk while its text arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from memory import Memory, ReplyStatus, StoreError

__all__ = ["ReplyWriter", "undisturbed"]

T = TypeVar("T")


class ReplyWriter:
    """Writes a reply's growing text in the background, one write at a time.

    A failed write is repeated with the next text; only the last one, in `finish`, must succeed.

    Args:
        interval_s: the pause between two writes.
    """

    def __init__(self, memory: Memory, reply_id: str, *, interval_s: float) -> None:
        self._memory = memory
        self._reply_id = reply_id
        self._interval_s = interval_s
        self._parts: list[str] = []
        self._written_parts = 0
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._keep_writing(), name=f"reply-writer-{reply_id}")

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._parts)

    def append(self, text: str) -> None:
        """Add text; never blocks."""
        self._parts.append(text)

    async def finish(
        self,
        status: ReplyStatus,
        *,
        finish_reason: str | None,
        timings: Mapping[str, Any] | None,
        error: str | None,
    ) -> None:
        """Write the final text and how the reply ended. Raises memory.StoreError."""
        self._stopping.set()
        try:
            # One write at a time: a late background write could overtake the last one.
            await _wait_for(self._task)
        finally:
            await undisturbed(
                asyncio.to_thread(
                    self._memory.finish_reply,
                    self._reply_id,
                    self.text,
                    status=status,
                    finish_reason=finish_reason,
                    timings=timings,
                    error=error,
                )
            )
        self._task.result()

    async def _keep_writing(self) -> None:
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._stopping.wait()
            except TimeoutError:
                await self._write()

    async def _write(self) -> None:
        arrived = len(self._parts)
        if arrived == self._written_parts:
            return
        try:
            await asyncio.to_thread(self._memory.update_reply, self._reply_id, self.text)
        except StoreError:
            return  # `finish` writes everything again, and reports an error that lasts
        self._written_parts = arrived


async def undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even when this task is cancelled; the cancellation is raised afterwards.

    A thread cannot be stopped: abandoning it would leave its write in flight, with nobody to wait for it.
    """
    task = asyncio.create_task(work)
    await _wait_for(task)
    return task.result()


async def _wait_for(task: asyncio.Task[T]) -> None:
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio would report it: the cancellation wins
        raise cancelled
