"""The list that opens over the prompt while a slash command is typed."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

__all__ = ["Completions"]


class Completions(OptionList, can_focus=False):
    """What may be meant; the prompt keeps the focus."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, compact=True)
        self.display = False

    def offer(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Show (text to insert, what is shown, explanation), or hide when there are none."""
        self.display = bool(rows)
        self.clear_options()
        width = max((len(shown) for _, shown, _ in rows), default=0) + 3
        for text, shown, explanation in rows:
            prompt = Content.assemble((shown.ljust(width), "$primary"), (explanation, "$foreground 60%"))
            self.add_option(Option(prompt.truncate(200), id=text))
        if rows:
            self.highlighted = 0

    @property
    def chosen(self) -> str | None:
        """The text of the highlighted row."""
        option = self.highlighted_option
        return option.id if option else None
