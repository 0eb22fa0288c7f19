"""Numbers, times and names as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stevemin_chat.text.format import (
    age,
    and_more,
    count,
    day,
    duration,
    listing,
    minute,
    model_label,
    percent,
    rate,
    size,
    speaker,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (40 << 40, "40.0 TiB")],
)
def test_bytes(number: int, text: str) -> None:
    assert size(number) == text


def test_bytes_of_a_total_share_its_unit() -> None:
    assert size(512 << 20, 4 << 30) == "0.5 of 4.0 GiB"
    assert size(10, 1000) == "10 of 1000 B"
    assert size(None, 4 << 30) == size(None) == "n/a"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "n/a"),
        (0.0412, "41 ms"),
        (0.9, "0.90 s"),
        (9.999, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (75, "1 min 15 s"),
        (4000, "1 h 6 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_shares_and_rates() -> None:
    assert (percent(0.574), percent(1), percent(0.0123, 1), percent(None)) == ("57%", "100%", "1.2%", "n/a")
    assert (rate(7.25), rate(99.96), rate(12345.6), rate(None)) == ("7.2", "100", "12,346", "n/a")


def test_numbers_of_things() -> None:
    assert (count(1, "token"), count(1234, "token"), count(0, "token")) == (
        "1 token",
        "1,234 tokens",
        "0 tokens",
    )
    assert (count(1, "summary"), count(2, "summary")) == ("1 summary", "2 summaries")
    assert [listing(parts) for parts in ([], ["a"], ["a", "", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_times() -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    ages = {0: "now", 90: "1m", 7200: "2h", 86400: "1d", 14 * 86400: "2w"}
    for seconds, text in ages.items():
        assert age(now - timedelta(seconds=seconds), now) == text
    assert (age(None, now), age("2026-03-02T11:00:00Z", now)) == ("", "1h")
    assert minute("2026-03-02T10:15:59.123Z") == "2026-03-02 10:15"
    assert day("2026-03-02T10:15:59.123Z") == "2026-03-02"


def test_what_is_left_of_a_list() -> None:
    assert (and_more(3, 3), and_more(4, 3), and_more(1240, 5)) == ("", "and 1 more", "and 1,235 more")


def test_names() -> None:
    assert [speaker(role) for role in ("user", "assistant", "system")] == ["you", "assistant", "system"]
    assert model_label("/models/deep/x-Q4.gguf") == "x-Q4.gguf"
    assert model_label("owner/repo") == "owner/repo"
