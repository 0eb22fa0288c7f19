"""The bottom line: model, strategy, context, speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from stevemin_chat.text import cell_len, one_line, rate, set_cell_size, shortened

if TYPE_CHECKING:
    from engine import EngineStats

__all__ = ["StatusLine"]


class StatusLine(Static):
    """One line; in a narrow terminal, the least important parts are dropped first."""

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id, markup=False)
        self._parts: tuple[str, str, tuple[int, int] | None, float, int, str] = ("", "", None, 0.0, 0, "")

    def show(
        self,
        model: str,
        strategy: str,
        context: tuple[int, int] | None,
        stats: EngineStats | None,
        hint: str = "",
    ) -> None:
        """Show the state of the visible chat and the speed of the engine.

        Args:
            context: tokens that the chat uses, and the limit; None while no model is loaded.
            hint: work under way besides answers; empty when there is none.
        """
        speed, answering = (stats.tokens_per_second, stats.active) if stats else (0.0, 0)
        parts = (one_line(model), strategy, context, speed, answering, hint)
        if parts != self._parts:
            self._parts = parts
            self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        model, strategy, context, speed, answering, hint = self._parts
        width = self.content_region.width
        right = f"{rate(speed)} tok/s" if speed or answering else "f1 help"
        if answering > 1:
            right = f"{answering} answering · {right}"
        if hint:
            right = f"{hint} · {right}"
        left = [model, strategy]
        if context is not None:
            left.append(f"context {context[0]:,} of {context[1]:,}")
        room = width - cell_len(right) - 2
        while len(left) > 1 and cell_len(" · ".join(left)) > room:
            left.pop(1 if len(left) > 2 else -1)
        text = shortened(" · ".join(part for part in left if part), room)
        shade = "$warning" if context and context[0] > 0.85 * context[1] else "$foreground 60%"
        self.update(
            Content.assemble(
                (set_cell_size(text, room) + "  ", shade), (right, "$primary" if speed else "$foreground 40%")
            )
        )
