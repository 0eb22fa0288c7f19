"""The chat screen: composes the widgets and is the controller's `View`.

It is drawn before anything else is loaded; the controller is attached when the chats have been read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.widgets import Footer, OptionList, Static

from stevemin_chat.text import one_line, sanitize
from stevemin_chat.tui.actions import COMMANDS
from stevemin_chat.tui.clipboard import copy_natively
from stevemin_chat.tui.widgets.bands import Completions, LoadBanner, QueueBar
from stevemin_chat.tui.widgets.metrics_panel import MetricsPanel
from stevemin_chat.tui.widgets.prompt import Prompt
from stevemin_chat.tui.widgets.session_list import SessionList
from stevemin_chat.tui.widgets.status_line import StatusLine
from stevemin_chat.tui.widgets.transcript import Greeting, Hint, Transcript

if TYPE_CHECKING:
    from textual.widgets import Markdown
    from textual.worker import Worker

    from stevemin_chat.chats import Chat
    from stevemin_chat.tui.controller import Controller

__all__ = ["ChatScreen"]

Result = TypeVar("Result")

_POLL = 0.5  # seconds
_ERROR_SECONDS = 10  # that an error stays on the screen
_LIST_FROM = 96  # columns from which the list of chats is shown by default
_PANEL_FROM = 132  # columns from which the stats panel is shown by default
_ROOMY = 30  # rows from which the footer is shown


class ChatScreen(Screen[None]):
    """List of chats, transcript and prompt, stats; a `View`.

    Args:
        now: the clock for the ages of chats.

    Attributes:
        poll_timer: polls the controller while the screen lives.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(c.key, f"command('{c.name}')", c.label or c.title, show=bool(c.label), id=c.name)
        for c in COMMANDS
        if c.key and c.name != "quit"
    ]

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._now = now
        self._controller: Controller | None = None
        self._folded: dict[str, bool] = {}  # by hand, in a terminal as wide as this one
        self._room = (False, False)  # for the list, for the panel
        self._new_text = False
        self._tidying = False

    def compose(self) -> ComposeResult:
        completions = Completions(id="completions")
        with Horizontal(id="body"):
            yield SessionList(id="sessions", now=self._now)
            with Vertical(id="centre"):
                yield Static("", id="title", markup=False)
                with Container(id="view"):
                    yield Transcript(id="transcript")
                    yield Static("↓ new text · ctrl+end", id="jump", markup=False)
                yield LoadBanner(id="loading")
                yield QueueBar(id="queue")
                yield completions
                yield Prompt(COMMANDS, completions, id="prompt")
            yield MetricsPanel(id="metrics")
        yield StatusLine(id="status")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._arrange(*self.app.size)  # before the first frame, which would show all panels otherwise
        self.prompt.placeholder = "Message, or / for commands"
        self.prompt.focus()

    def attach(self, controller: Controller) -> None:
        """Hand everything to this controller from now on, first what was entered early."""
        self._controller = controller
        self.poll_timer = self.set_interval(_POLL, self.poll)
        self.prompt.attach(controller)
        self.poll()

    @property
    def controller(self) -> Controller:
        """Attached when the chats have been read."""
        assert self._controller is not None
        return self._controller

    @property
    def attached(self) -> bool:
        """Whether there is a controller."""
        return self._controller is not None

    @property
    def in_use(self) -> bool:
        """Whether something was typed or entered."""
        return bool(self.prompt.text or self.prompt.early)

    @property
    def prompt(self) -> Prompt:
        """Where the person types."""
        return self.query_one("#prompt", Prompt)

    @property
    def transcript(self) -> Transcript:
        """What was said."""
        return self.query_one("#transcript", Transcript)

    # from the widgets to the controller

    def action_command(self, name: str) -> None:
        """Run a command by key or from the palette."""
        self.prompt.carry_out(next(command for command in COMMANDS if command.name == name))

    def on_prompt_early(self) -> None:
        if self._controller is None:
            self.query_one(QueueBar).show(self.prompt.early, "sent when the chats are read")

    def on_prompt_scroll(self, event: Prompt.Scroll) -> None:
        """Scroll by a page, less two rows that stay in view."""
        view = self.transcript
        view.scroll_relative(y=event.direction * max(1, view.size.height - 2), animate=False)

    def on_session_list_chosen(self, event: SessionList.Chosen) -> None:
        self.controller.switch_to(event.key)

    def on_queue_bar_take_back(self) -> None:
        if self._controller is not None and self._controller.take_back():
            self.focus_prompt()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click on a completion."""
        if isinstance(event.option_list, Completions) and event.option_id is not None:
            self.focus_prompt()
            self.prompt.choose(event.option_id)

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        link = one_line(event.href)  # Textual has decoded %1b and the like
        self.copy(link)
        self.say(link, "Link copied, not opened")

    def on_click(self, event: events.Click) -> None:
        if event.widget is self.query_one("#jump"):
            self.follow()

    def on_transcript_moved(self) -> None:
        self._note_end()

    # `View`: dialogue

    def say(self, text: str, title: str = "", *, warn: bool = False) -> None:
        severity: Literal["information", "warning"] = "warning" if warn else "information"
        self.notify(sanitize(text), title=one_line(title), severity=severity, markup=False)

    def tell(self, error: BaseException) -> None:
        from stevemin_chat.notices import describe

        notice = describe(error)
        self.notify(
            notice.text, title=notice.title, severity=notice.severity, markup=False, timeout=_ERROR_SECONDS
        )

    async def ask(self, question: Screen[Result]) -> Result | None:
        return await self.app.push_screen_wait(question)

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        _: Worker[None] = self.run_worker(partial(self._run, work))

    async def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except NoMatches:
            if self.is_running:  # else the person has left, and the widgets are gone before this screen
                raise

    # `View`: the prompt and the list of chats

    @property
    def draft(self) -> str:
        return self.prompt.typed

    @property
    def entered(self) -> bool:
        return bool(self.prompt.early)

    def put(self, text: str, *, recalled: bool = False) -> None:
        self.prompt.put(text, recalled=recalled)

    def give_back(self, text: str) -> None:
        self.prompt.give_back(text)

    def focus_prompt(self) -> bool:
        moved = self.focused is not self.prompt
        self.prompt.focus()
        return moved

    @property
    def marked(self) -> str | None:
        options = self.query_one("#chats", OptionList)
        option = options.highlighted_option
        return option.id if option is not None and options.has_focus else None

    def show_chats(self, chats: Sequence[Chat], visible: Chat | None) -> None:
        with suppress(NoMatches):  # the screen is being taken down
            self.query_one(SessionList).show(chats, visible)

    def show_state(self, chat: Chat, *, visible: bool, queue_hint: str) -> None:
        with suppress(NoMatches):
            self.query_one(SessionList).refresh_lines(chat)
            if visible:
                mark = " · off the record" if chat.off_record else ""
                title = Content.assemble(one_line(chat.title) or "New chat", (mark, "$accent"))
                self.query_one("#title", Static).update(title)
                self.query_one(QueueBar).show(chat.queue, queue_hint)

    def focus_list(self) -> None:
        if not self.query_one("#sessions").display:
            self.fold("sessions")
        self.query_one("#chats").focus()

    # `View`: the transcript

    async def open(self, chat: Chat, message_id: str | None, *, first_model: str | None) -> bool:
        opening = Hint() if first_model is None else Greeting(first_model)
        found = await self.transcript.show(chat, opening, message_id)
        self._note_end()
        return found

    def sync(self) -> None:
        if self.is_running:
            self.run(self._sync)

    async def _sync(self) -> None:
        await self.transcript.sync()
        self._note_end()

    def follow(self) -> None:
        self.transcript.follow()

    @property
    def selection(self) -> str | None:
        return self.get_selected_text()

    def _note_end(self) -> None:
        behind = not self.transcript.at_end
        live = self.transcript.live_view() is not None
        self._new_text = behind and (live or self._new_text)
        self.query_one("#jump").display = self._new_text

    # `View`: the rest

    def show_load(self, name: str | None, progress: float) -> None:
        if self.is_mounted:
            self.query_one(LoadBanner).show(name, progress)

    def refresh_status(self) -> None:
        if self._controller is not None:
            self.poll()

    def copy(self, text: str) -> None:
        self.run(partial(self._copy, text))

    async def _copy(self, text: str) -> None:
        if not await asyncio.to_thread(copy_natively, text):
            self.app.copy_to_clipboard(text)  # the terminal may ignore it, and does not say so
        self.say(f"{len(text):,} characters copied.")

    def help(self) -> None:
        from stevemin_chat.tui.screens.help import HelpScreen  # not needed for the first frame

        self.app.push_screen(HelpScreen())

    def quit(self) -> None:
        self.run(self.app.action_quit)

    @property
    def theme(self) -> str:
        return self.app.theme

    @theme.setter
    def theme(self, name: str) -> None:
        self.app.theme = name

    @property
    def themes(self) -> Sequence[str]:
        return sorted(self.app.available_themes)

    # what is polled

    def poll(self) -> None:
        """Ask the controller for its status and draw what has changed."""
        controller = self.controller
        now = controller.status()
        live = self.transcript.live_view()
        if live is not None:
            live.show_progress(now.request)
        panel = self.query_one(MetricsPanel)
        panel.note(now.stats)
        if panel.display:
            panel.show(now)
            self.run(controller.read_devices)
        self.query_one(StatusLine).show(now.model, now.strategy, now.context, now.stats, now.hint)
        self._note_end()
        if not self._tidying:
            self._tidying = True
            self.run(self._tidy)

    async def _tidy(self) -> None:
        try:
            await self.transcript.prune()
            await self.controller.tidy()
        finally:
            self._tidying = False

    # what is shown in the room there is

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    def fold(self, name: str) -> None:
        shown = self.query_one(f"#{name}").display
        self._folded[name] = shown
        if not shown and self.size.width < _LIST_FROM:  # room for one of them only
            self._folded["sessions" if name == "metrics" else "metrics"] = True
        self._arrange(self.size.width, self.size.height)
        self.refresh_status()

    def _arrange(self, width: int, height: int) -> None:
        room = (width >= _LIST_FROM, width >= _PANEL_FROM)
        if room != self._room:
            self._room = room
            self._folded.clear()
        self.query_one("#sessions").display = not self._folded.get("sessions", not room[0])
        self.query_one("#metrics").display = not self._folded.get("metrics", not room[1])
        self.set_class(height >= _ROOMY, "-roomy")
