"""Counters and windows, written by the engine thread and read by anyone."""

from __future__ import annotations

from collections import Counter, deque
from threading import Lock
from time import monotonic

import numpy as np

from engine.step import StepPlan, StepResult
from engine.types import EngineStats, FinishReason

__all__ = ["Metrics"]

_RATE_WINDOW = 3.0  # seconds
_REQUEST_WINDOW = 60.0


class _Rate:
    """Events per second over the last seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._events: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, now: float, count: int) -> None:
        self._events.append((now, count))
        self._sum += count
        self._drop(now)

    def read(self, now: float) -> float:
        """Events per second; a window that is not full yet counts from its first event."""
        self._drop(now)
        if not self._events:
            return 0.0
        return self._sum / max(0.25, min(self._window, now - self._events[0][0]))

    def _drop(self, now: float) -> None:
        while self._events and self._events[0][0] < now - self._window:
            self._sum -= self._events.popleft()[1]


class Metrics:
    """What the engine has done; every method is thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._decode = _Rate(_RATE_WINDOW)
        self._prefill = _Rate(_RATE_WINDOW)
        self._requests = _Rate(_REQUEST_WINDOW)
        self._gaps: deque[float] = deque(maxlen=2048)
        self._ttfts: deque[float] = deque(maxlen=256)
        self._busy_s = self._llama_s = 0.0
        self._steps = self._generated = self._prompt = self._cached = 0
        self._computed = self._drafted = self._accepted = 0
        self._ended: Counter[FinishReason | None] = Counter()

    def step(self, plan: StepPlan, result: StepResult, *, busy_s: float) -> None:
        """Enter one successful step, which took so many seconds from its begin to its end."""
        now = monotonic()
        generated = sum(map(len, result.sampled.values()))
        prefilled = plan.prefill_tokens
        with self._lock:
            if generated:
                self._decode.add(now, generated)
            if prefilled:
                self._prefill.add(now, prefilled)
            self._busy_s += busy_s
            self._llama_s += result.decode_s + result.sample_s + result.swap_s
            self._steps += 1
            self._generated += generated
            self._computed += prefilled
            self._drafted += plan.draft_tokens
            self._accepted += sum(len(t) - 1 for t in result.sampled.values())

    def gap(self, seconds: float) -> None:
        """Enter the time between two tokens of one request."""
        with self._lock:
            self._gaps.append(seconds)

    def first_token(self, seconds: float) -> None:
        """Enter the time to the first token of a request."""
        with self._lock:
            self._ttfts.append(seconds)

    def prompt(self, prompt_tokens: int, cached_tokens: int) -> None:
        """Enter a prompt that has been read, and how much of it was in the KV cache."""
        with self._lock:
            self._prompt += prompt_tokens
            self._cached += cached_tokens

    def finished(self, reason: FinishReason | None) -> None:
        """Enter the end of a request; None is a failure."""
        with self._lock:
            self._requests.add(monotonic(), 1)
            self._ended[reason] += 1

    def snapshot(self) -> EngineStats:
        """Totals, rates and percentiles; the live fields are left at their defaults."""
        now = monotonic()
        with self._lock:
            p50, p95, p99 = _percentiles(list(self._gaps), (50, 95, 99))
            (ttft,) = _percentiles(list(self._ttfts), (50,))
            failed, cancelled = self._ended[None], self._ended[FinishReason.CANCELLED]
            return EngineStats(
                tokens_per_second=self._decode.read(now),
                prefill_tokens_per_second=self._prefill.read(now),
                requests_per_second=self._requests.read(now),
                requests_done=self._ended.total() - failed - cancelled,
                requests_failed=failed,
                requests_cancelled=cancelled,
                prompt_tokens=self._prompt,
                cached_tokens=self._cached,
                computed_tokens=self._computed,
                drafted_tokens=self._drafted,
                accepted_tokens=self._accepted,
                completion_tokens=self._generated,
                steps=self._steps,
                ttft_p50_s=ttft,
                itl_p50_s=p50,
                itl_p95_s=p95,
                itl_p99_s=p99,
                prefix_hit_rate=self._cached / self._prompt if self._prompt else None,
                prefill_share=_share(self._computed, self._generated),
                overhead=1.0 - self._llama_s / self._busy_s if self._busy_s else 0.0,
            )


def _percentiles(values: list[float], ranks: tuple[int, ...]) -> list[float | None]:
    if not values:
        return [None] * len(ranks)
    return [float(value) for value in np.percentile(values, ranks)]


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None
