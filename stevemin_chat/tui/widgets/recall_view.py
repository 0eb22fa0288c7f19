"""One recall in the account of a prompt: where it comes from, why it came back, what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from stevemin_chat.recall import score_words
from stevemin_chat.text import clip, one_line, speaker

if TYPE_CHECKING:
    from memory import Recall

__all__ = ["RecallView"]

_SIGNALS = 3  # shown before someone asks for all
_CELLS = 220


class RecallView(Static, can_focus=True):
    """Its beginning and its strongest signals; unfolded, all of it."""

    def __init__(self, recall: Recall, title: str) -> None:
        super().__init__("", markup=False, classes="recall")
        self.recall = recall
        self._title = title
        self._unfolded = False
        self.update(self._content())

    def unfold(self) -> None:
        """Show all, or less again."""
        self._unfolded = not self._unfolded
        self.update(self._content())

    def _content(self) -> Content:
        recall = self.recall
        chat = one_line(self._title) or "a chat that is gone"
        where = f"{recall.at[:10]} · {chat} · {speaker(recall.role)}"
        text = one_line(recall.text) if self._unfolded else clip(recall.text, _CELLS)
        score = score_words(recall, None if self._unfolded else _SIGNALS)
        return Content("\n").join(
            [
                Content.styled(where, "$foreground 60%"),
                Content(text),
                Content.styled(score, "$foreground 45%"),
            ]
        )
