"""The bands between transcript and prompt, each shown only while it has something to show."""

from __future__ import annotations

from collections.abc import Sequence

from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, ProgressBar, Static
from textual.widgets.option_list import Option

from stevemin_chat.text import and_more, cell_len, clip, model_label, one_line, set_cell_size

__all__ = ["Completions", "LoadBanner", "QueueBar"]

_SHOWN = 3  # queued messages
_LONGEST = 300  # cells of each


class _Progress(ProgressBar):
    DEFAULT_CSS = """
    _Progress {
        width: 1fr;
        margin: 0 2;
        Bar { width: 1fr; }
        Bar > .bar--bar { color: $primary; }
    }
    """


class LoadBanner(Horizontal):
    """A model being loaded: its name, the progress, how to cancel. Empty until the first load, which comes
    after the first frame."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.display = False

    def show(self, name: str | None, progress: float) -> None:
        """Show the model being loaded and its progress (0 to 1); None hides the band."""
        self.display = name is not None
        if name is not None:
            if not self.children:
                self.mount(
                    Static("", classes="name", markup=False),
                    _Progress(total=1.0, show_eta=False),
                    Static("/cancel stops", classes="how", markup=False),
                )
            self.query_one(".name", Static).update(f"Loading {one_line(model_label(name))}")
            self.query_one(ProgressBar).update(progress=progress)


class QueueBar(Static):
    """Messages to be sent after the present answer; a click takes the last one back."""

    class TakeBack(Message):
        """The person wants the last queued message back in the prompt."""

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id, markup=False)
        self.display = False

    def show(self, queue: Sequence[str], when: str) -> None:
        """Show the queue; `when` says when it is sent."""
        self.display = bool(queue)
        if not queue:
            return
        hints = (f"queued, {when}", "$foreground 60%"), ("   ↑ takes it back", "$foreground 40%")
        lines = [Content.assemble(*hints)]
        for text in queue[:_SHOWN]:
            lines.append(Content.assemble(("│ ", "$accent"), clip(text, _LONGEST)))
        if rest := and_more(len(queue), _SHOWN):
            lines.append(Content.styled(f"│ {rest}", "$foreground 40%"))
        self.update(Content("\n").join(lines))

    def on_click(self) -> None:
        self.post_message(self.TakeBack())


class Completions(OptionList, can_focus=False):
    """Completions of a half-typed slash command; the prompt keeps the focus."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, compact=True)
        self.display = False

    def offer(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Show rows of (text to insert, label, explanation); hide when there are none."""
        self.display = bool(rows)
        self.clear_options()
        rows = [(text, one_line(label), explanation) for text, label, explanation in rows]
        width = max((cell_len(label) for _, label, _ in rows), default=0) + 3
        for text, label, explanation in rows:
            columns = (set_cell_size(label, width), "$primary"), (explanation, "$foreground 60%")
            self.add_option(Option(Content.assemble(*columns).truncate(200), id=text))
        if rows:
            self.highlighted = 0

    @property
    def chosen(self) -> str | None:
        """The text of the highlighted row."""
        option = self.highlighted_option
        return option.id if option else None
