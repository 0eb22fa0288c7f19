"""Adding and syncing documents in the running application: one thread beside the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memory import DocumentsReport, Memory

__all__ = ["DocumentOutcome", "DocumentWork"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DocumentOutcome:
    """How the work ended: a report, or an error.

    Args:
        asked: the person wanted it; else it is the sync at the start.
    """

    report: DocumentsReport | None = None
    error: Exception | None = None
    asked: bool = True


class DocumentWork:
    """One piece of work at a time. Called on the event loop, never blocks it, and never delays its end.

    Args:
        on_done: called on the event loop, unless it was closed meanwhile.
    """

    def __init__(self, memory: Memory, on_done: Callable[[DocumentOutcome], None]) -> None:
        self.memory = memory
        self._on_done = on_done
        self._stopping = Event()
        self._closed = False
        self._running = self._shown = False
        self._progress = (0, 0)

    @property
    def running(self) -> bool:
        """Whether documents are being read."""
        return self._running

    @property
    def words(self) -> str:
        """Progress; empty where there is none."""
        done, total = self._progress
        if not (self._running and self._shown):
            return ""
        return f"documents {done:,} of {total:,}" if total else "looking for documents"

    def add(self, paths: Sequence[str], project: str | None = None) -> bool:
        """Begin to add documents; False while other work is under way."""
        return self._start(
            lambda: self.memory.documents.add(
                paths, project=project, progress=self._tell, stopped=self._stopping.is_set
            ),
            asked=True,
        )

    def sync(self, *, asked: bool = True) -> bool:
        """Begin to bring the documents in step with the disk; False while other work is under way."""
        return self._start(
            lambda: self.memory.documents.sync(progress=self._tell, stopped=self._stopping.is_set),
            asked=asked,
        )

    def stop(self) -> bool:
        """End the work after the file at hand; False if there is none."""
        self._stopping.set()
        return self._running

    def close(self) -> None:
        """Stop, and report no more. Waits for nothing: what was read is stored, and the next sync goes on."""
        self._closed = True
        self._stopping.set()

    def _start(self, work: Callable[[], DocumentsReport], *, asked: bool) -> bool:
        if self._running or self._closed:
            return False
        self._running, self._shown = True, asked
        self._progress = (0, 0)
        self._stopping.clear()
        loop = asyncio.get_running_loop()
        # Not a thread of the loop's pool: at its end the loop would wait for that.
        Thread(target=self._run, args=(work, asked, loop), name="documents", daemon=True).start()
        return True

    def _tell(self, done: int, total: int) -> None:
        self._progress = (done, total)
        self._shown = True

    def _run(self, work: Callable[[], DocumentsReport], asked: bool, loop: asyncio.AbstractEventLoop) -> None:
        try:
            outcome = DocumentOutcome(work(), asked=asked)
        except Exception as error:
            if not self._closed:  # else the store was closed under it
                _log.warning("documents were not read: %s", type(error).__name__)
            outcome = DocumentOutcome(error=error, asked=asked)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._done, outcome)

    def _done(self, outcome: DocumentOutcome) -> None:
        self._running = False
        if not self._closed:
            self._on_done(outcome)
