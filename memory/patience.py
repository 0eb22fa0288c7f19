"""Waits only so long for an answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["Patience"]

T = TypeVar("T")


class Patience:
    """Runs work on threads of its own, so that whoever asks can give up. Thread-safe.

    Args:
        seconds: to wait at most. While an answer is overdue, nobody waits at all.
        threads: how many answers may be on their way at once.
    """

    def __init__(self, seconds: float, threads: int) -> None:
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="memory-search")
        self._overdue: Future[Any] | None = None

    def wait_for(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises.

        Raises:
            TimeoutError: that takes too long.
        """
        overdue = self._overdue
        if overdue is not None and not overdue.done():
            raise TimeoutError
        answer = self._threads.submit(work)
        try:
            return answer.result(self._seconds)
        except TimeoutError:
            if not answer.cancel():
                self._overdue = answer
            raise

    def close(self) -> None:
        """Wait for work that is under way. Calling it twice is fine."""
        self._threads.shutdown(cancel_futures=True)
