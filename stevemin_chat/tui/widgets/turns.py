"""The entries of a transcript: a message of the person, or a reply, which may still be growing.

Their styles are here, not in the style sheet of the screen, which the first frame has to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from stevemin_chat.chats import Entry, ending
from stevemin_chat.text import count, duration, one_line, percent, rate
from stevemin_chat.tui.widgets.reply_text import ReplyText

if TYPE_CHECKING:
    from engine import RequestStats

__all__ = ["EntryView", "ForgottenView", "ReplyView", "UserView", "view_of"]

_PAUSE = 0.1  # seconds between two updates of a growing reply; each costs about 10 ms of layout


class UserView(Static):
    """A message of the person, word for word."""

    DEFAULT_CSS = """
    UserView {
        width: 1fr;
        height: auto;
        margin: 1 0 0 0;
        padding: 0 1;
        background: $surface;
        border-left: outer $primary 60%;
        color: $foreground;
        &.-marked { background: $panel; }
    }
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.text, markup=False, classes="user")
        self.entry = entry


class ReplyView(Vertical):
    """A reply as Markdown with a quiet line below; grows with its entry."""

    DEFAULT_CSS = """
    ReplyView {
        width: 1fr;
        height: auto;
        margin: 1 0 0 0;
        &.-marked { background: $panel; }

        .text { padding: 0 2 0 2; margin: 0; background: transparent; }
        .text MarkdownFence { background: $surface; margin: 0 0 1 0; }
        .text MarkdownParagraph.-continued { margin: 0; }
        .text CodeLines { padding: 0 2; }
        .text MarkdownH1, .text MarkdownH2 {
            content-align: left middle;
            text-style: bold;
            margin: 0 0 1 0;
            padding: 0;
            border: none;
            background: transparent;
            width: 1fr;
        }
        .note { height: auto; padding: 0 2; color: $foreground 40%; }
        &.-trouble .note { color: $warning 90%; }
    }
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(classes="reply")
        self.entry = entry
        self._text = ReplyText(entry, classes="text")
        self._note = Static("", markup=False, classes="note")
        self._said = ""

    def compose(self) -> ComposeResult:
        yield self._text
        yield self._note

    async def on_mount(self) -> None:
        if self.entry.live:
            self._say("preparing the prompt …")
            self.run_worker(self._follow())
            return
        await self._text.catch_up()
        await self._settle()

    def show_progress(self, request: RequestStats | None) -> None:
        """Show why there is no text yet; nothing once there is some.

        Args:
            request: the reply's request in the engine; None before it is submitted.
        """
        if self.entry.live and not self.entry.text:
            self._say(_progress(request))

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._note.update(text)
            self._note.display = bool(text)

    async def _follow(self) -> None:
        entry, live = self.entry, True
        while live:
            entry.changed.clear()
            live = entry.live
            if await self._text.catch_up():
                self._say("")
            if live:
                await entry.changed.wait()
                await asyncio.sleep(_PAUSE)
        await self._settle()

    async def _settle(self) -> None:
        await self._text.finish()
        self.set_class(self.entry.status in ("failed", "interrupted"), "-trouble")
        self._say(_reply_note(self.entry))


class ForgottenView(Static):
    """The place of a forgotten message."""

    DEFAULT_CSS = """
    ForgottenView {
        width: 1fr;
        height: 1;
        margin: 1 0 0 0;
        padding: 0 2;
        color: $foreground 40%;
        &.-marked { background: $panel; }
    }
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__("(forgotten)", markup=False, classes="forgotten")
        self.entry = entry


EntryView = UserView | ReplyView | ForgottenView


def view_of(entry: Entry) -> EntryView:
    """The widget for an entry."""
    if entry.forgotten:
        return ForgottenView(entry)
    return UserView(entry) if entry.role == "user" else ReplyView(entry)


def _progress(request: RequestStats | None) -> str:
    if request is None:
        return "preparing the prompt …"
    if request.phase == "waiting":
        ahead = request.queue_position
        if ahead is None:
            return "waiting for a free slot …"
        return f"waiting, {ahead} ahead …" if ahead else "next in line …"
    if request.phase == "prefill" and request.prompt_tokens:
        share = min(1.0, request.computed_tokens / request.prompt_tokens)
        return f"reading {count(request.prompt_tokens, 'token')} … {percent(share)}"
    return "thinking …"


_PLACES = 4  # of documents that are named below a reply
_CUT_OFF = {"length": "cut off at max_tokens", "context": "cut off: the context is full"}


def _reply_note(entry: Entry) -> str:
    """The quiet lines below a reply: how it ended, what it cost, what its prompt drew on and left out."""
    parts = [part for part in (_ending(entry), _cost(entry.timings)) if part]
    lines = [" · ".join(parts)] if parts else []
    known = [f"{count(entry.memories, 'memory')} used"] if entry.memories else []
    known += [f"{count(entry.learned, 'fact')} remembered"] if entry.learned else []
    if known:
        lines.append(" · ".join(known))
    if entry.documents:
        more = len(entry.documents) - _PLACES
        named = [one_line(place) for place in entry.documents[:_PLACES]]
        lines.append(f"from {', '.join([*named, *([f'{more:,} more'] if more > 0 else [])])}")
    if entry.warned:
        contain = "contains" if entry.warned == 1 else "contain"
        lines.append(f"{count(entry.warned, 'source')} {contain} instructions to the model")
    if entry.dropped:
        lines.append(f"{count(entry.dropped, 'earlier message')} left out of the prompt ({entry.strategy})")
    return "\n".join(lines)


def _ending(entry: Entry) -> str:
    if entry.status == "complete":
        return _CUT_OFF.get(entry.finish_reason or "", "")
    return "" if entry.live else ending(entry.status, entry.error)


def _cost(timings: Mapping[str, Any] | None) -> str:
    if not timings or not timings.get("completion_tokens"):
        return ""
    parts = [count(timings["completion_tokens"], "token")]
    if timings.get("tokens_per_second"):
        parts.append(f"{rate(timings['tokens_per_second'])} tok/s")
    if timings.get("ttft_s"):
        parts.append(f"first token {duration(timings['ttft_s'])}")
    if timings.get("prompt_tokens"):
        parts.append(
            f"{timings['prompt_tokens']:,}-token prompt ({timings.get('cached_tokens', 0):,} cached)"
        )
    return " · ".join(parts)
