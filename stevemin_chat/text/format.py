"""Figures → words: what the quiet lines of the screen say.

Numbers as people read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine import RequestStats
    from stevemin_chat.chats.chat import Entry

__all__ = [
    "age",
    "count",
    "human_bytes",
    "human_seconds",
    "model_label",
    "progress",
    "rate",
    "reply_note",
    "seconds",
    "size",
]


_ENDINGS = {
    "length": "finish: length (the answer's limit was reached)",
    "context": "finish: context (the context is full)",
}
_GIB = 2**30


def count(number: int, noun: str) -> str:
    """`1,234 tokens`, `1 token`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def seconds(value: float | None) -> str:
    """A duration: `41 ms`, `0.82 s`, `12 s`; `n/a` when unknown."""
    if value is None:
        return "n/a"
    if value < 0.1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:,.0f} s"


def rate(value: float | None) -> str:
    """Tokens per second, to three digits."""
    if value is None:
        return "n/a"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def size(used: float | None, total: float | None = None) -> str:
    """Bytes as GiB, `of` a total where known."""
    if used is None:
        return "n/a"
    return f"{used / _GIB:.1f} GiB" if total is None else f"{used / _GIB:.1f} of {total / _GIB:.1f} GiB"


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


def model_label(name: str) -> str:
    """A model as short as it can be told: of a path, the name of the file."""
    return name.rstrip("/").rsplit("/", 1)[-1] if name.endswith(".gguf") else name


def progress(request: RequestStats | None) -> str:
    """Why there is no text yet."""
    if request is None:
        return "preparing the prompt …"
    if request.phase == "waiting":
        ahead = request.queue_position
        return "waiting for a free place …" if ahead is None else f"waiting, {ahead} ahead …"
    if request.phase == "prefill" and request.prompt_tokens:
        share = min(1.0, request.computed_tokens / request.prompt_tokens)
        return f"reading {count(request.prompt_tokens, 'token')} … {share:.0%}"
    return "thinking …"


def reply_note(entry: Entry) -> str:
    """The dim lines under a reply: how it ended, what it cost, what its prompt left out."""
    parts = [part for part in (_ending(entry), _cost(entry.timings)) if part]
    lines = [" · ".join(parts)] if parts else []
    if entry.dropped:
        verb = "is" if entry.dropped == 1 else "are"
        lines.append(f"{count(entry.dropped, 'earlier message')} {verb} not in the prompt ({entry.strategy})")
    return "\n".join(lines)


def _ending(entry: Entry) -> str:
    if entry.status == "failed":
        return f"failed: {entry.error}" if entry.error else "failed"
    if entry.status == "cancelled":
        return "stopped"
    if entry.status == "interrupted":
        return "interrupted: stevemin ended while this was being written"
    return _ENDINGS.get(entry.finish_reason or "", "")


def _cost(timings: Mapping[str, Any] | None) -> str:
    if not timings or not timings.get("completion_tokens"):
        return ""
    parts = [count(timings["completion_tokens"], "token")]
    if timings.get("tokens_per_second"):
        parts.append(f"{rate(timings['tokens_per_second'])} tok/s")
    if timings.get("ttft_s"):
        parts.append(f"first after {seconds(timings['ttft_s'])}")
    if timings.get("prompt_tokens"):
        parts.append(f"prompt {timings['prompt_tokens']:,}, {timings.get('cached_tokens', 0):,} cached")
    return " · ".join(parts)


def human_bytes(count: float) -> str:
    """1536 → "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or (unit == "GiB" and count < 10_240):
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """75 → "1:15"; 4000 → "1:06:40"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
