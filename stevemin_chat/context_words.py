"""The account of a prompt in words and figures, as the context view shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memory.recall import contributions
from stevemin_chat.phrases import count

if TYPE_CHECKING:
    from memory import ContextReport, Dropped, LayerReport, Recall

__all__ = ["DropGroup", "bar", "drop_groups", "headline", "layer_units", "score_words"]

_EIGHTHS = " ▏▎▍▌▋▊▉"
_NOUNS = {"profile": "fact", "memories": "recall", "template": ""}
_FOCUS = {
    "past": "the question is about the past",
    "follow-up": "the question follows the last answer",
}


@dataclass(frozen=True, slots=True)
class DropGroup:
    """What was left out for one reason.

    Args:
        tokens: of all its items together.
    """

    reason: str
    items: int
    tokens: int


def headline(report: ContextReport) -> str:
    """Strategy, size, and what the strategy took the question for."""
    parts = [
        report.strategy,
        f"{report.tokens:,} of {report.budget_tokens:,} tokens",
        f"{report.reply_tokens:,} more for the answer" if report.reply_tokens else "",
        _FOCUS.get(report.focus or "", ""),
    ]
    return " · ".join(part for part in parts if part)


def layer_units(layer: LayerReport) -> str:
    """What a layer is made of: `12 messages`, `3 facts`; empty for what comes from the template."""
    noun = _NOUNS.get(layer.name, "message")
    return count(layer.messages, noun) if noun and layer.messages else ""


def bar(share: float, width: int) -> str:
    """A share of 1 in blocks, to an eighth of a cell; what is more than nothing is seen."""
    eighths = min(8 * width, max(round(8 * width * share), int(share > 0)))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def score_words(recall: Recall, most: int | None = None) -> str:
    """A recall's score as the sum of its signals, the largest first.

    Args:
        most: signals to name; None names all.
    """
    parts = contributions(recall.signals)
    named = [f" {'-' if part < 0 else '+'} {name} {abs(part):.1f}" for name, part in parts[:most]]
    rest = " …" if len(named) < len(parts) else ""
    return f"score {recall.score:.1f}" + "".join(named).replace(" + ", " = ", 1) + rest


def drop_groups(dropped: Iterable[Dropped]) -> list[DropGroup]:
    """By reason, the largest group first."""
    groups: dict[str, list[int]] = {}
    for item in dropped:
        groups.setdefault(item.reason, []).append(item.tokens)
    found = [DropGroup(reason, len(tokens), sum(tokens)) for reason, tokens in groups.items()]
    return sorted(found, key=lambda group: -group.items)
