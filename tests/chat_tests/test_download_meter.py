"""What a person sees of a download."""

from __future__ import annotations

import pytest

from stevemin_chat.models.download import DownloadMeter
from stevemin_chat.text.format import human_bytes, human_seconds


def test_speed_and_rest_come_from_the_last_seconds() -> None:
    now = 0.0
    lines: list[str] = []
    meter = DownloadMeter(lines.append, clock=lambda: now)
    mib = 1 << 20
    meter.update("m.gguf", 10 * mib, 100 * mib)
    assert lines == ["[##..................]  10%  10.0 MiB of 100.0 MiB"]
    now = 0.05
    meter.update("m.gguf", 11 * mib, 100 * mib)
    assert len(lines) == 1
    for now in (1.0, 2.0, 10.0, 11.0):
        meter.update("m.gguf", int((10 + 2 * now) * mib), 100 * mib)
    assert lines[-1] == "[######..............]  32%  32.0 MiB of 100.0 MiB  2.0 MiB/s  0:34 left"
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
    assert lines[-1].endswith("  10 B of 1000 B")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (40 << 40, "40.0 TiB")],
)
def test_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00"), (75, "1:15"), (4000, "1:06:40")])
def test_seconds(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text
