"""When a failed worker may be restarted."""

from __future__ import annotations

from memory.vectors.embedding_thread import Restarts


def test_delays_grow_and_the_third_failure_starts_a_pause() -> None:
    now = 0.0
    restarts = Restarts(clock=lambda: now)
    assert [restarts.record_failure(), restarts.record_failure()] == [0.5, 1.0]
    assert restarts.pause_left_s == 0
    assert restarts.record_failure() == 300
    now = 120.0
    assert restarts.pause_left_s == 180
    now = 301.0
    assert restarts.pause_left_s == 0
    restarts.record_failure()  # it is still broken
    assert restarts.pause_left_s == 300


def test_failures_far_apart_start_no_pause() -> None:
    now = 0.0
    restarts = Restarts(clock=lambda: now)
    for _ in range(10):
        now += 400.0
        restarts.record_failure()
        assert restarts.pause_left_s == 0
