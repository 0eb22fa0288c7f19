"""The layers of a prompt, each with a bar of its share in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from stevemin_chat.recall import bar, layer_units

if TYPE_CHECKING:
    from memory import ContextReport

__all__ = ["LayerBars"]

_NAME = 10
_BAR = 24
_TOKENS = 9


class LayerBars(Static):
    """One line for each layer that has tokens, and one for what is free."""

    def __init__(self, report: ContextReport) -> None:
        super().__init__(_lines(report), markup=False, classes="layers")


def _lines(report: ContextReport) -> Content:
    lines = [
        _line(layer.name, layer.tokens, layer.tokens / report.tokens, layer_units(layer))
        for layer in report.layers
        if layer.tokens > 0
    ]
    free = max(0, report.budget_tokens - report.tokens)
    lines.append(_line("free", free, 0, ""))
    return Content("\n").join(lines)


def _line(name: str, tokens: int, share: float, units: str) -> Content:
    shade = "$foreground 80%" if share else "$foreground 45%"
    return Content.assemble(
        (name.ljust(_NAME), shade),
        (bar(share, _BAR).ljust(_BAR), "$primary 70%"),
        (f"{tokens:,}".rjust(_TOKENS), shade),
        (f"   {units}" if units else "", "$foreground 45%"),
    )
