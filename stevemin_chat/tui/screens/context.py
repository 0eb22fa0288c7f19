"""What the model saw: a chat's last prompt, layer by layer, with its recalls and what was left out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from stevemin_chat.recall import (
    INSTRUCTIONS,
    Place,
    bar,
    drop_groups,
    headline,
    layer_units,
    reason_words,
    score_words,
)
from stevemin_chat.text import clip, count, day, one_line, set_cell_size, speaker
from stevemin_chat.tui.screens.file import FileScreen

if TYPE_CHECKING:
    from memory import ContextReport, Dropped, Recall
    from stevemin_chat.recall import Account

__all__ = ["ContextScreen", "RecallView", "ShowOrigin", "Wish"]

Wish = Place | Literal["strategy"]  # open a message in its chat, or the choice of strategies

ShowOrigin = Callable[[str, Callable[[str], None]], Awaitable[Place | Literal["forgotten"] | None]]
"""Takes the id of a fact or message, and what shows work under way; see `MemoryActions.show_origin`."""

_NO_PROMPT = "No prompt has been built in this chat since stevemin started."
_STEP = 3  # rows
_REASON = 24  # columns, as the next ones
_ITEMS = 16
_LAYER = 10
_BAR = 24
_TOKENS = 9
_TEXT = 220  # cells of its text


class ContextScreen(ModalScreen[Wish | None]):
    """Layers, recalls, summaries and facts of a prompt, and what was left out; the result: what to open.

    Args:
        account: None before the first prompt.
        strategy: the chat's, which may have changed since that prompt.
        show_origin: shows where a recall comes from, and may forget it.
    """

    CSS_PATH = "context.tcss"
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", show=False),
        Binding("s", "dismiss('strategy')", "Strategy", show=False),
        Binding("enter", "go", "Open the chat", show=False),
        Binding("w", "why", "Why", show=False),
        Binding("space,right", "unfold", "Expand", show=False),
        Binding("down", "step(1)", "Next", show=False),
        Binding("up", "step(-1)", "Previous", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
    ]

    def __init__(
        self,
        account: Account | None,
        *,
        title: str,
        strategy: str,
        show_origin: ShowOrigin,
        now: datetime | None = None,
    ) -> None:
        super().__init__()
        self._now = now or datetime.now(UTC)
        self._account = account
        self._title = title
        self._strategy = strategy
        self._show_origin = show_origin

    def compose(self) -> ComposeResult:
        with Vertical(classes="account"):
            yield Static(f"What the model saw in “{one_line(self._title)}”", classes="title", markup=False)
            with VerticalScroll(can_focus=False):
                if self._account is None:
                    yield Static(f"{_NO_PROMPT} Its strategy is {self._strategy}.", markup=False)
                else:
                    yield from _parts(self._account, self._strategy, self._now)
            keys = "enter opens it · space expands · w why · " if self._recalls else ""
            yield Static(f"{keys}s strategy · esc closes", classes="keys", markup=False)

    def on_mount(self) -> None:
        self.call_after_refresh(self._choose_first)

    @property
    def _recalls(self) -> bool:
        return self._account is not None and bool(self._account.report.recalls)

    @property
    def _chosen(self) -> RecallView | None:
        return self.focused if isinstance(self.focused, RecallView) else None

    def action_go(self) -> None:
        """Open the chat at the recalled message, or the document at its lines."""
        if self._chosen is None:
            return
        recall = self._chosen.recall
        if recall.file is not None:
            self.app.push_screen(FileScreen(recall))
        else:
            self.dismiss(Place(recall.session_id, recall.message_id))

    def action_unfold(self) -> None:
        """Expand the recall, or fold it again."""
        if self._chosen is not None:
            self._chosen.unfold()

    def action_step(self, by: int) -> None:
        """Move to the next recall; after the last one, scroll."""
        views = list(self.query(RecallView))
        place = views.index(self._chosen) + by if self._chosen in views else min(by, 0)
        if 0 <= place < len(views):
            views[place].focus()
        else:
            self.query_one(VerticalScroll).scroll_relative(y=by * _STEP, animate=False)

    def action_page(self, by: int) -> None:
        """Scroll by a page, less two rows that stay in view."""
        view = self.query_one(VerticalScroll)
        view.scroll_relative(y=by * max(1, view.size.height - 2), animate=False)

    @work
    async def action_why(self) -> None:
        """Show where the recall comes from and what was derived from it."""
        if self._chosen is None or self._chosen.recall.file is not None:
            return
        message_id = self._chosen.recall.message_id
        wish = await self._show_origin(message_id, self._working)
        if wish is not None:  # also after forgetting: the screen must not go on showing the text
            self.dismiss(wish if isinstance(wish, Place) else None)

    def _choose_first(self) -> None:
        """Focus the first recall if it is on the screen already; scrolling to it would hide the layers."""
        view, first = self.query_one(VerticalScroll), next(iter(self.query(RecallView)), None)
        if first is not None and view.region.contains_region(first.region):
            first.focus()

    def _working(self, what: str) -> None:
        if what:
            self.query_one(".keys", Static).update(what)


def _parts(account: Account, strategy: str, now: datetime) -> Iterator[Widget]:
    report = account.report
    next_one = f"\nThe next prompt uses {strategy}." if strategy != report.strategy else ""
    yield Static(headline(report) + next_one, classes="headline", markup=False)
    yield LayerBars(report)
    if report.notice:
        yield Static(report.notice, classes="notice", markup=False)
    if report.recalls:
        yield _heading("Recalled, in the order of the reranker" if report.reordered else "Recalled")
        for recall in report.recalls:
            yield RecallView(recall, account.titles.get(recall.session_id, ""), now)
    if account.summaries:
        yield _heading("Summaries")
        for summary in account.summaries:
            words = f"{one_line(summary.text)} ({count(len(summary.sources), 'message')})"
            yield Static(words, classes="item", markup=False)
    if account.facts:
        yield _heading("Profile")
        for fact in account.facts:
            pinned = " (pinned)" if fact.pinned else ""
            yield Static(one_line(fact.text) + pinned, classes="item", markup=False)
    yield from _left_out("Left out of this chat", report.dropped, "message")
    yield from _left_out("Found but not quoted", report.dropped_recalls, "recall")
    if report.dropped_facts:
        yield _heading("Left out of the profile")
        yield Static(f"{count(len(report.dropped_facts), 'fact')} did not fit", classes="item", markup=False)


def _left_out(title: str, dropped: tuple[Dropped, ...], noun: str) -> Iterator[Widget]:
    if not dropped:
        return
    yield _heading(title)
    lines = [
        f"{group.reason:<{_REASON}}{count(group.items, noun):<{_ITEMS}}{count(group.tokens, 'token')}"
        for group in drop_groups(dropped)
    ]
    yield Static("\n".join(lines), classes="item", markup=False)


def _heading(text: str) -> Static:
    return Static(text, classes="heading", markup=False)


class LayerBars(Static):
    """The layers of a prompt, each with a bar for its share, and what is free."""

    def __init__(self, report: ContextReport) -> None:
        lines = [
            _layer(layer.name, layer.tokens, layer.tokens / report.tokens, layer_units(layer))
            for layer in report.layers
            if layer.tokens > 0
        ]
        lines.append(_layer("free", max(0, report.budget_tokens - report.tokens), 0, ""))
        super().__init__(Content("\n").join(lines), markup=False, classes="layers")


class RecallView(Static, can_focus=True):
    """A recall: its source, the start of its text, and why it was found; expanded, all of it."""

    def __init__(self, recall: Recall, title: str, now: datetime) -> None:
        super().__init__("", markup=False, classes="recall")
        self._now = now
        self.recall = recall
        self._title = title
        self._unfolded = False
        self.update(self._content())

    def unfold(self) -> None:
        """Expand it, or fold it again."""
        self._unfolded = not self._unfolded
        self.update(self._content())

    def _content(self) -> Content:
        recall = self.recall
        if recall.file is not None:
            source = f"{one_line(recall.place)} · document"
        else:
            chat = one_line(self._title) or "a deleted chat"
            source = f"{day(recall.at)} · {chat} · {speaker(recall.role, recall.origin)}"
        text = one_line(recall.text) if self._unfolded else clip(recall.text, _TEXT)
        reasons = [reason_words(recall, self._now)]
        if self._unfolded:
            reasons.append(score_words(recall))
        lines = [
            Content.assemble(
                (source, "$foreground 60%"), (f" · {INSTRUCTIONS}" * recall.instructions, "$warning")
            ),
            Content(text),
            *(Content.styled(reason, "$foreground 45%") for reason in reasons),
        ]
        return Content("\n").join(lines)


def _layer(name: str, tokens: int, share: float, units: str) -> Content:
    shade = "$foreground 80%" if share else "$foreground 45%"
    return Content.assemble(
        (set_cell_size(name, _LAYER), shade),
        (bar(share, _BAR).ljust(_BAR), "$primary 70%"),
        (f"{tokens:,}".rjust(_TOKENS), shade),
        (f"   {units}" if units else "", "$foreground 45%"),
    )
