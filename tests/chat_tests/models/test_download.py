"""What a person sees of a download."""

from __future__ import annotations

from stevemin_chat.models.download import DownloadMeter


def test_speed_and_rest_come_from_the_last_seconds() -> None:
    now = 0.0
    lines: list[str] = []
    meter = DownloadMeter(lines.append, clock=lambda: now)
    mib = 1 << 20
    meter.update("m.gguf", 10 * mib, 100 * mib)
    assert lines == ["[##..................]  10%  10.0 of 100.0 MiB"]
    now = 0.05
    meter.update("m.gguf", 11 * mib, 100 * mib)
    assert len(lines) == 1
    for now in (1.0, 2.0, 10.0, 11.0):
        meter.update("m.gguf", int((10 + 2 * now) * mib), 100 * mib)
    assert lines[-1] == "[######..............]  32%  32.0 of 100.0 MiB  2.0 MiB/s  34 s left"
    now = 11.01
    meter.update("m.gguf", 100 * mib, 100 * mib)
    assert "100%" in lines[-1]


def test_another_part_is_measured_anew() -> None:
    now = 0.0
    lines: list[str] = []
    meter = DownloadMeter(lines.append, clock=lambda: now)
    meter.update("part-1", 1000, 1000)
    now = 1.0
    meter.update("part-2", 10, 1000)
    assert lines[-1].endswith("  10 of 1000 B")
