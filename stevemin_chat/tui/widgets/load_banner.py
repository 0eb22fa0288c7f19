"""A band that shows a model being loaded; everything else stays usable."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import ProgressBar, Static

from stevemin_chat.text import model_label

__all__ = ["LoadBanner"]


class LoadBanner(Horizontal):
    """Name, bar, and how to stop it."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.display = False

    def compose(self) -> ComposeResult:
        yield Static("", classes="name", markup=False)
        yield ProgressBar(total=1.0, show_eta=False)
        yield Static("/cancel stops", classes="how", markup=False)

    def show(self, name: str | None, progress: float) -> None:
        """The model being loaded and how far it is (0 to 1); None hides the band."""
        self.display = name is not None
        if name is not None:
            self.query_one(".name", Static).update(f"Loading {model_label(name)}")
            self.query_one(ProgressBar).update(progress=progress)
