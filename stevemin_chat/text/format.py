"""Numbers, times and names as a person reads them: one way for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

__all__ = [
    "age",
    "and_more",
    "count",
    "day",
    "duration",
    "listing",
    "minute",
    "model_label",
    "percent",
    "rate",
    "size",
    "speaker",
]

_NO_VALUE = "n/a"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def count(number: int, noun: str) -> str:
    """A number of things: `1,234 tokens`, `1 token`, `2 summaries`."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def listing(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty parts are left out."""
    *first, last = [part for part in parts if part] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def and_more(total: int, shown: int) -> str:
    """What follows a list that was cut short: `and 1,234 more`; empty when all are shown."""
    return f"and {total - shown:,} more" if total > shown else ""


def size(used: float | None, total: float | None = None) -> str:
    """Bytes: `1.5 KiB`; with a total, both in its unit: `1.2 of 3.4 GiB`. `n/a` when unknown."""
    if used is None:
        return _NO_VALUE
    whole, power = used if total is None else total, 0
    while whole >= 1024 and power < len(_UNITS) - 1:
        whole, power = whole / 1024, power + 1
    digits = 1 if power else 0
    shown = [f"{part / 1024**power:.{digits}f}" for part in (used, total) if part is not None]
    return f"{' of '.join(shown)} {_UNITS[power]}"


def duration(seconds: float | None) -> str:
    """A time span: `41 ms`, `0.82 s`, `12 s`, `1 min 15 s`, `2 h 5 min`; `n/a` when unknown."""
    if seconds is None:
        return _NO_VALUE
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours:,} h {minutes_left} min" if hours else f"{minutes} min {rest} s"


def percent(share: float | None, digits: int = 0) -> str:
    """A share of 1: `57%`; `n/a` when unknown."""
    return _NO_VALUE if share is None else f"{share:.{digits}%}"


def rate(tokens_per_second: float | None) -> str:
    """Tokens per second, to three digits and without the unit; `n/a` when unknown."""
    if tokens_per_second is None:
        return _NO_VALUE
    return f"{tokens_per_second:.1f}" if tokens_per_second < 99.95 else f"{tokens_per_second:,.0f}"


def age(when: datetime | str | None, now: datetime) -> str:
    """How long ago, in a few characters: `now`, `5m`, `3h`, `2d`, `6w`; empty when unknown."""
    if when is None:
        return ""
    moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    minutes = int((now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds() // 60)
    for limit, unit, name in ((1, 1, "now"), (60, 1, "m"), (1440, 60, "h"), (20160, 1440, "d")):
        if minutes < limit:
            return name if name == "now" else f"{minutes // unit}{name}"
    return f"{minutes // 10080}w"


def day(iso: str) -> str:
    """The date of a stored time: `2026-03-02`."""
    return iso[:10]


def minute(iso: str) -> str:
    """A stored time to the minute: `2026-03-02 10:15`."""
    return iso[:16].replace("T", " ")


def speaker(role: str, origin: str | None = None) -> str:
    """Who wrote a message: `you`, or the role itself (`assistant`, `system`).

    Args:
        origin: how somebody else's words got into it: `you pasted`.
    """
    who = "you" if role == "user" else role
    return who if origin is None else f"{who} {origin}"


def model_label(name: str) -> str:
    """A model's short name: of a path, the file's name."""
    return name.rstrip("/").rsplit("/", 1)[-1] if name.endswith(".gguf") else name
