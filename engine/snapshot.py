"""What the engine is doing at this moment, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.output import RequestOutput
from engine.scheduler import Scheduler
from engine.sequence import Sequence
from engine.step import StepPlan
from engine.types import EngineStats, RequestPhase, RequestStats

__all__ = ["live_stats", "with_totals"]

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
    """Queue, batch and cells as they are; counters and rates are left at their defaults.

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
        max_sessions=scheduler.limits.max_sessions,
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
    """The live fields of one value and the counters and rates of the other."""
    return replace(totals, **{name: getattr(live, name) for name in _LIVE})


def _request(sequence: Sequence, output: RequestOutput, place: int | None) -> RequestStats:
    phase = RequestPhase.PREFILL if output.ttft_s is None else RequestPhase.DECODE
    return RequestStats(
        request_id=sequence.request_id,
        session_id=sequence.session_id,
        phase=phase if place is None else RequestPhase.WAITING,
        prompt_tokens=sequence.prompt_tokens,
        computed_tokens=sequence.computed,
        cached_tokens=sequence.cached_tokens,
        completion_tokens=sequence.completion_tokens,
        tokens_per_second=output.tokens_per_second,
        ttft_s=output.ttft_s,
        queue_position=place,
    )
