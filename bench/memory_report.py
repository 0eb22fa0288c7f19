"""From the turns of long chats to what each side costs and what it has of the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import mean, median
from typing import Any

from bench.intervals import percent
from bench.memory_turns import Turned
from bench.rounds import percentile

__all__ = ["Turns", "show", "summary"]

Turns = dict[str, dict[int, Turned]]  # one chat's: by side and number of the turn
_OURS, _PEER, _YARDSTICK = "hierarchical", "window", "sliding"


def summary(chats: Mapping[str, Turns]) -> dict[str, Any]:
    """Every side over all chats; ratios by chat, too."""
    names = dict.fromkeys(name for turns in chats.values() for name, own in turns.items() if own)
    ratios = {chat: ratio for chat, turns in chats.items() if (ratio := _ratio([turns])) is not None}
    return {
        "conversations": len(chats),
        "ratio": _ratio(chats.values()),
        "ratio_by_conversation": ratios,
        "sides": {name: _side(name, chats.values()) for name in names},
    }


def _ratio(chats: Iterable[Turns]) -> float | None:
    """Prefilled tokens of ours over the window's, per turn."""
    chats = list(chats)
    ours, peer = _all(_OURS, chats), _all(_PEER, chats)
    return round(_mean(ours, _prefilled) / _mean(peer, _prefilled), 3) if ours and peer else None


def _side(name: str, chats: Iterable[Turns]) -> dict[str, Any]:
    chats = list(chats)
    turns = _all(name, chats)
    ttft = [1e3 * item.timings.ttft_s for item in turns]
    with_memories = [item for item in turns if item.memories]
    return {
        "turns": len(turns),
        "prompt_tokens": _mean(turns, lambda item: item.timings.prompt_tokens),
        "prefilled_tokens": _mean(turns, _prefilled),
        "prefilled_when_asked": _mean([item for item in turns if item.evidence], _prefilled),
        "with_memories": round(len(with_memories) / len(turns), 3),
        "memory_tokens": _mean(with_memories, lambda item: item.memories),
        "background_tokens": _mean(turns, lambda item: item.background),
        "ttft_ms_p50": round(median(ttft), 1),
        "ttft_ms_p95": round(percentile(ttft, 95), 1),
        "ttft_to_sliding": _to_yardstick(name, chats),
        "build_ms_p95": round(percentile([1e3 * item.build_s for item in turns], 95), 1),
        "evidence": _evidence(turns),
    }


def _all(name: str, chats: Iterable[Turns]) -> list[Turned]:
    return [item for turns in chats for item in turns.get(name, {}).values()]


def _prefilled(item: Turned) -> int:
    return item.prefilled


def _mean(turns: Sequence[Turned], value: Callable[[Turned], float]) -> float:
    return round(mean(map(value, turns)), 1) if turns else 0.0


def _to_yardstick(name: str, chats: Iterable[Turns]) -> float | None:
    pairs = [
        (item.timings.ttft_s, turns[_YARDSTICK][number].timings.ttft_s)
        for turns in chats
        for number, item in turns.get(name, {}).items()
        if number in turns.get(_YARDSTICK, {})
    ]
    return round(median(ours / theirs for ours, theirs in pairs), 3) if pairs else None


def _evidence(turns: Iterable[Turned]) -> dict[str, float] | None:
    found = [item.evidence for item in turns if item.evidence is not None]
    if not found:
        return None
    return {
        "questions": len(found),
        "verbatim": percent(item.verbatim for item in found),
        "quoted": percent(item.quoted for item in found),
        "summarised": percent(item.summarised for item in found),
    }


def show(result: Mapping[str, Any]) -> Iterator[str]:
    """The result as a table."""
    yield (
        f"{result['conversations']} chats of {result['turns']} turns, prompts of {result['budget']} tokens,"
        f" per turn, {result['model']}:"
    )
    yield f"{'':13}" + "".join(f"{name:>11}" for name in _COLUMNS)
    for name, side in result["sides"].items():
        values = (_cell(side, path) for path in _COLUMNS.values())
        yield f"{name:13}" + "".join(f"{value:>11}" for value in values)
    if result["ratio"] is not None:
        each = ", ".join(f"{chat} {ratio}" for chat, ratio in result["ratio_by_conversation"].items())
        yield f"prefilled, {_OURS} over {_PEER}: {result['ratio']} ({each})"


_COLUMNS = {
    "turns": "turns",
    "prompt": "prompt_tokens",
    "prefilled": "prefilled_tokens",
    "background": "background_tokens",
    "TTFT ms": "ttft_ms_p50",
    "p95": "ttft_ms_p95",
    "to sliding": "ttft_to_sliding",
    "verbatim %": "evidence.verbatim",
    "quoted %": "evidence.quoted",
    "summary %": "evidence.summarised",
}


def _cell(side: Mapping[str, Any], path: str) -> str:
    value: Any = side
    for key in path.split("."):
        value = None if value is None else value[key]
    return "-" if value is None else str(value)
