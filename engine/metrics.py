"""Measures the engine: totals, rates and percentiles, and a live view of queue, batch and cells."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from threading import Lock
from time import monotonic

from engine.schedule import Scheduler, TokenSequence
from engine.step import StepPlan, StepResult
from engine.text import RequestOutput, percentiles
from engine.types import EngineStats, FinishReason, RequestStats

__all__ = ["Metrics", "live_stats", "with_totals"]

_RATE_WINDOW = 3.0  # seconds
_REQUEST_WINDOW = 60.0


class _Rate:
    """Events per second over a sliding window, in seconds."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._events: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, now: float, count: int) -> None:
        self._events.append((now, count))
        self._sum += count
        self._drop(now)

    def read(self, now: float) -> float:
        """Events per second; a window that is not yet full counts from its first event."""
        self._drop(now)
        if not self._events:
            return 0.0
        return self._sum / max(0.25, min(self._window, now - self._events[0][0]))

    def _drop(self, now: float) -> None:
        while self._events and self._events[0][0] < now - self._window:
            self._sum -= self._events.popleft()[1]


class Metrics:
    """Totals, rates and percentiles of a running engine; thread-safe."""

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
        """Record one successful step, which took `busy_s` seconds from start to end."""
        now = monotonic()
        generated = sum(map(len, result.sampled.values()))
        _, prefilled, drafted = plan.shares
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
            self._drafted += drafted
            self._accepted += generated - len(result.sampled)

    def gaps(self, seconds: Iterable[float]) -> None:
        """Record the seconds between two tokens of one request, for each that a step has sampled."""
        with self._lock:
            self._gaps.extend(seconds)

    def first_token(self, seconds: float) -> None:
        """Record the seconds to a request's first token."""
        with self._lock:
            self._ttfts.append(seconds)

    def prompt(self, prompt_tokens: int, cached_tokens: int) -> None:
        """Record a prompt that was read, and how many of its tokens were in the KV cache."""
        with self._lock:
            self._prompt += prompt_tokens
            self._cached += cached_tokens

    def finished(self, reason: FinishReason | None) -> None:
        """Record the end of a request; None is a failure."""
        with self._lock:
            self._requests.add(monotonic(), 1)
            self._ended[reason] += 1

    def snapshot(self) -> EngineStats:
        """Totals, rates and percentiles; the live fields keep their defaults."""
        now = monotonic()
        with self._lock:
            p50, p95, p99 = percentiles(self._gaps, (50, 95, 99))
            (ttft,) = percentiles(self._ttfts, (50,))
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


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None


_LIVE = (
    "active",
    "waiting",
    "parked",
    "parked_on_disk",
    "parked_ram_bytes",
    "parked_disk_bytes",
    "paused",
    "batch_tokens",
    "batch_capacity",
    "batch_sequences",
    "max_sessions",
    "kv_cells_used",
    "kv_cells_total",
    "preempted",
    "restored",
    "evicted",
    "kv_layout",
    "requests",
)


def live_stats(scheduler: Scheduler, outputs: Mapping[int, RequestOutput], plan: StepPlan) -> EngineStats:
    """Queue, batch and cells at this moment; totals and rates keep their defaults.

    Engine thread only: it reads what the scheduler changes.
    """
    running = [_request(s, outputs[s.request_id], None) for s in scheduler.running]
    waiting = [_request(s, outputs[s.request_id], place) for place, s in enumerate(scheduler.waiting)]
    return EngineStats(
        active=len(running),
        waiting=len(waiting),
        batch_tokens=plan.tokens,
        batch_capacity=scheduler.limits.batch_tokens,
        batch_sequences=len(plan.work),
        max_sessions=scheduler.limits.max_running,
        kv_cells_used=scheduler.cache.used,
        kv_cells_total=scheduler.cache.cells,
        preempted=scheduler.preempted,
        restored=scheduler.restored,
        evicted=scheduler.cache.evicted,
        parked=scheduler.parking.count,
        parked_on_disk=scheduler.parking.on_disk,
        parked_ram_bytes=scheduler.parking.ram_bytes_used,
        parked_disk_bytes=scheduler.parking.disk_bytes_used,
        paused=sum(1 for s in [*scheduler.running, *scheduler.waiting] if s.paused),
        kv_layout="split" if scheduler.cache.split else "unified",
        requests=(*running, *waiting),
    )


def with_totals(live: EngineStats, totals: EngineStats) -> EngineStats:
    """The live fields of one value with the totals and rates of the other."""
    return replace(totals, **{name: getattr(live, name) for name in _LIVE})


def _request(sequence: TokenSequence, output: RequestOutput, place: int | None) -> RequestStats:
    return RequestStats(
        request_id=sequence.request_id,
        session_id=sequence.session_id,
        phase=sequence.phase,
        prompt_tokens=sequence.prompt_tokens,
        computed_tokens=sequence.computed,
        cached_tokens=sequence.cached_tokens,
        completion_tokens=sequence.completion_tokens,
        tokens_per_second=output.tokens_per_second,
        ttft_s=output.ttft_s,
        queue_position=place,
    )
