"""Keeps one streaming reply on disk while its text arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from memory import Memory, ReplyStatus, StoreError

__all__ = ["ReplyWriter", "undisturbed"]

T = TypeVar("T")


class ReplyWriter:
    """Writes a reply's growing text in the background, one write at a time.

    A write that fails is tried again with the next text; only the last one, in `finish`, has to succeed.

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
        """What has arrived so far."""
        return "".join(self._parts)

    def append(self, text: str) -> None:
        """More text; returns at once."""
        self._parts.append(text)

    async def finish(
        self,
        status: ReplyStatus,
        *,
        finish_reason: str | None,
        timings: Mapping[str, Any] | None,
        error: str | None,
    ) -> None:
        """Write the final text and how the reply ended. Raises `StoreError` if that fails."""
        self._stopping.set()
        try:
            # A late background write would be a second one in flight.
            await _wait_for(self._task)
        finally:
            await undisturbed(
                lambda: self._memory.finish_reply(
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
            return  # `finish` writes everything again and reports what is still wrong then
        self._written_parts = arrived


async def undisturbed(work: Callable[[], T]) -> T:
    """Run `work` on a thread to its end, even when this task is cancelled meanwhile.

    A thread cannot be stopped: abandoning it would leave its write in flight, unknown to anyone.
    The cancellation is raised afterwards.
    """
    task = asyncio.create_task(asyncio.to_thread(work))
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
            task.exception()  # the cancellation wins; asyncio would report this one as never retrieved
        raise cancelled
