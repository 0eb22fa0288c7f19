"""The chat screen: shows chats, figures and the prompt, and hands over what the person does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, Markdown, Static

from stevemin_chat.chats import Chat
from stevemin_chat.recall import Place
from stevemin_chat.text import model_label
from stevemin_chat.tui.actions import COMMANDS
from stevemin_chat.tui.answer_commands import AnswerCommands
from stevemin_chat.tui.arranging import Arranging
from stevemin_chat.tui.chat_commands import ChatCommands
from stevemin_chat.tui.figures import Figures
from stevemin_chat.tui.listening import Listening
from stevemin_chat.tui.memory_commands import MemoryCommands
from stevemin_chat.tui.model_commands import ModelCommands
from stevemin_chat.tui.prompting import Prompting
from stevemin_chat.tui.screen_commands import ScreenCommands
from stevemin_chat.tui.widgets.completions import Completions
from stevemin_chat.tui.widgets.greeting import Greeting, Hint
from stevemin_chat.tui.widgets.load_banner import LoadBanner
from stevemin_chat.tui.widgets.metrics_panel import MetricsPanel
from stevemin_chat.tui.widgets.prompt import Prompt
from stevemin_chat.tui.widgets.queue_bar import QueueBar
from stevemin_chat.tui.widgets.session_list import SessionList
from stevemin_chat.tui.widgets.status_line import StatusLine
from stevemin_chat.tui.widgets.transcript import Transcript
from stevemin_chat.tui.widgets.turns import progress

if TYPE_CHECKING:
    from engine.devices import DeviceMonitor, DeviceReading
    from stevemin_chat.runtime import Runtime

__all__ = ["ChatScreen"]

_POLL = 0.5  # seconds


class ChatScreen(
    ChatCommands,
    AnswerCommands,
    ModelCommands,
    MemoryCommands,
    ScreenCommands,
    Prompting,
    Listening,
    Arranging,
    Screen[None],
):
    """List of chats, transcript and prompt, figures."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(c.key, f"command('{c.name}')", c.label or c.title, show=bool(c.label), id=c.name)
        for c in COMMANDS
        if c.key and c.name != "quit"
    ]

    def __init__(
        self, runtime: Runtime, devices: DeviceMonitor, *, model: str, now: Callable[[], datetime]
    ) -> None:
        super().__init__()
        self.runtime = runtime
        workspace = runtime.open_workspace(self)
        self.chats = workspace.chats
        self.remembering = workspace.remembering
        self.loader = workspace.loader
        self.consolidating = workspace.consolidating
        self.chat: Chat | None = None  # whose draft is in the prompt
        self._devices = devices
        self._model = model
        self._now = now
        self._reading: DeviceReading | None = None
        self.folded: dict[str, bool] = {}
        self.room = (False, False)
        self._new_text = False
        self._noted = ""
        self.entered_early = False  # enter was pressed before the chats were read

    def compose(self) -> ComposeResult:
        with Horizontal(id="body"):
            yield SessionList(id="sessions", now=self._now)
            with Vertical(id="centre"):
                yield Static("", id="title", markup=False)
                with Container(id="view"):
                    yield Transcript(id="transcript")
                    yield Static("↓ new text · ctrl+end", id="jump", markup=False)
                yield LoadBanner(id="loading")
                yield QueueBar(id="queue")
                yield Completions(id="completions")
                yield Prompt(id="prompt")
            yield MetricsPanel(id="metrics")
        yield StatusLine(id="status")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.prompt.placeholder = "Message, or / for commands"
        self.prompt.focus()
        self.poll_timer = self.set_interval(_POLL, self.poll)
        self._begin()

    @property
    def prompt(self) -> Prompt:
        """Where the person types."""
        return self.query_one("#prompt", Prompt)

    @property
    def transcript(self) -> Transcript:
        """What was said."""
        return self.query_one("#transcript", Transcript)

    @work
    async def _begin(self) -> None:
        try:
            await self.remembering.look()
            await self.chats.load()
        except Exception as error:
            self.tell(error)
        first = self.chats.opening()
        if self.prompt.text:  # typed before the chats were read
            first = self.chats.new()
            first.draft = self.prompt.text
        self.switch(first)
        if self.runtime.engine is None:
            self.load_model(self._model)
        if self.entered_early:
            self.prompt.post_message(Prompt.Sent(self.prompt.text))

    def note(self, what: str) -> None:
        """Say in the status line what goes on for some seconds; empty when it is over."""
        self._noted = what
        self.poll()

    # looking at a chat

    def switch(self, chat: Chat, message_id: str | None = None) -> None:
        """Put a chat on the screen; what was typed in the other one stays there.

        Args:
            message_id: shown instead of the end.
        """
        if self.chat is not None:
            self.chat.draft = self.prompt.text
        self.chat = chat
        self.chats.look_at(chat)
        self.prompt.put(chat.draft)
        self.chats_changed()
        self.chat_changed(chat)
        self._open(chat, message_id)

    @work
    async def go_to(self, place: Place) -> None:
        """Open a chat at one of its messages."""
        try:
            self.switch(await self.chats.of_session(place.session_id), place.message_id)
        except Exception as error:
            self.tell(error)

    @work(exclusive=True, group="open")
    async def _open(self, chat: Chat, message_id: str | None) -> None:
        try:
            await self.chats.open(chat)
        except Exception as error:
            self.tell(error)
        first = len(self.chats.all) == 1 and chat.blank
        opening = Greeting(self._model_words()) if first else Hint()
        if not await self.transcript.show(chat, opening, message_id):
            self.say("That message is in another version of this chat, which is not on the screen.")
        self._note_end()
        self.poll()

    @work(group="sync")
    async def sync(self) -> None:
        """Show what came and went in the visible chat."""
        await self.transcript.sync()
        self._note_end()

    def _model_words(self) -> str:
        return model_label(self.runtime.model_name or self.loader.name or self._model)

    def send(self, chat: Chat, text: str) -> None:
        """Send a message, or queue it until the chat and the model are free."""
        self.chats.answers.send(chat, text)
        self.transcript.follow()
        if not self.chats.answers.ready and self.loader.name is None:
            self.say("No model is loaded; the message waits. Choose one with /model.", warn=True)

    def on_session_list_chosen(self, event: SessionList.Chosen) -> None:
        chat = next((chat for chat in self.chats.all if chat.key == event.key), None)
        if chat is not None:
            self.switch(chat)
            self.prompt.focus()

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        self.copy(event.href)
        self.say(event.href, "Link copied, not opened")

    def on_click(self, event: events.Click) -> None:
        if event.widget is self.query_one("#jump"):
            self.command_end("")

    def on_transcript_moved(self) -> None:
        self._note_end()

    # the engine

    @work(group="load")
    async def load_model(self, name: str) -> None:
        """Load a model; the screen stays alive."""
        try:
            info = await self.loader.load(name)
        except Exception as error:
            self.tell(error)
            if self.runtime.engine is None:
                self.say(
                    "Choose another model with /model. Nothing you type is lost meanwhile.",
                    "No model",
                    warn=True,
                )
            return
        if info is None:
            self.say("No model is loaded. Choose one with /model.", "Loading was stopped", warn=True)
            return
        for warning in info.warnings:
            self.say(warning, info.name, warn=True)

    def loading_changed(self) -> None:
        """The loader tells of a change."""
        if self.is_mounted:
            self.query_one(LoadBanner).show(self.loader.name, self.loader.progress)
            if self.chat is not None:
                self.chat_changed(self.chat)

    def poll(self) -> None:
        """Look at the engine and draw what has changed."""
        now = Figures.read(self.runtime.engine, self.chat)
        live = self.transcript.live_view()
        if live is not None and not live.entry.text:
            live.say(progress(now.request))
        panel = self.query_one(MetricsPanel)
        panel.note(now.stats)
        if panel.display:
            titles = {chat.record.id: chat.title for chat in self.chats.all if chat.record}
            panel.show(now, self._reading, titles)
            self._read_devices()
        summarising = self.consolidating.summarising is not None
        hint = self._noted or self.remembering.hint(summarising=summarising)
        self.query_one(StatusLine).show(self._model_line(), self.strategy(), now.context, now.stats, hint)
        if (news := self.remembering.news()) is not None:
            self.say(news, "Search by words only")
        self._note_end()
        self._tidy()

    @work(exclusive=True, group="tidy")
    async def _tidy(self) -> None:
        await self.transcript.prune()
        await self.keep_drafts()

    @work(group="devices")
    async def _read_devices(self) -> None:
        self._reading = await asyncio.to_thread(self._devices.read)

    def _model_line(self) -> str:
        if self.loader.name is not None:
            return f"loading {model_label(self.loader.name)}"
        return model_label(self.runtime.model_name) if self.runtime.model_name else "no model: /model"

    def strategy(self) -> str:
        """The context strategy of the visible chat."""
        return (self.chat.strategy if self.chat else None) or self.runtime.config.strategy

    async def keep_drafts(self) -> None:
        """Write what was typed and not sent, if that has changed."""
        if self.chat is not None:
            self.chat.draft = self.prompt.text
        await self.chats.keep_drafts()

    def _note_end(self) -> None:
        behind = not self.transcript.at_end
        live = self.transcript.live_view() is not None
        self._new_text = behind and (live or self._new_text)
        self.query_one("#jump").display = self._new_text
