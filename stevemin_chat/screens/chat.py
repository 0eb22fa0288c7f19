"""The chat screen: shows chats, figures and the prompt, and hands over what the person does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, Markdown, Static, TextArea

from stevemin_chat.chats import Chat, Chats
from stevemin_chat.commands import COMMANDS, Message, Run, parse
from stevemin_chat.loading import ModelLoader
from stevemin_chat.notices import describe
from stevemin_chat.phrases import progress
from stevemin_chat.screens.actions import ChatActions
from stevemin_chat.screens.completing import completions_for
from stevemin_chat.widgets.completions import Completions
from stevemin_chat.widgets.greeting import Greeting, Hint
from stevemin_chat.widgets.load_banner import LoadBanner
from stevemin_chat.widgets.metrics_panel import MetricsPanel
from stevemin_chat.widgets.prompt import Prompt
from stevemin_chat.widgets.queue_bar import QueueBar
from stevemin_chat.widgets.session_list import SessionList
from stevemin_chat.widgets.status_line import StatusLine
from stevemin_chat.widgets.transcript import Transcript

if TYPE_CHECKING:
    from engine import EngineStats, RequestStats
    from engine.devices import DeviceMonitor, DeviceReading
    from stevemin_chat.wiring import Runtime

__all__ = ["ChatScreen"]

_POLL = 0.5  # seconds
_LIST_FROM = 96  # columns from which the list of chats is open by itself
_PANEL_FROM = 132  # columns from which the panel is open by itself
_ROOMY = 30  # rows from which the footer is shown


class ChatScreen(ChatActions, Screen[None]):
    """List of chats, transcript and prompt, figures."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            c.key, f"command('{c.name}')", c.label or c.title, show=bool(c.label), id=c.name, key_display=None
        )
        for c in COMMANDS
        if c.key and c.name != "quit"
    ]

    def __init__(
        self, runtime: Runtime, devices: DeviceMonitor, *, model: str, now: Callable[[], datetime]
    ) -> None:
        super().__init__()
        self.runtime = runtime
        self.chats = Chats(runtime, self, explain=lambda error: describe(error).text)
        self.loader = ModelLoader(runtime, self.chats, self._loading_changed)
        self.chat: Chat | None = None  # whose draft is in the prompt
        self._devices = devices
        self._model = model
        self._now = now
        self._reading: DeviceReading | None = None
        self._folded: dict[str, bool] = {}
        self._room = (False, False)
        self._new_text = False

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
        self.set_interval(_POLL, self.poll)
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
            await self.chats.load()
        except Exception as error:
            self.tell(error)
        self.switch(self.chats.new())
        if self.runtime.engine is None:
            self.load_model(self._model)

    # what the chats tell

    def chats_changed(self) -> None:
        if self.is_mounted:
            self.query_one(SessionList).show(self.chats.all, self.chat)

    def chat_changed(self, chat: Chat) -> None:
        if not self.is_mounted:
            return
        self.query_one(SessionList).refresh_lines(chat)
        if chat is self.chat:
            self.query_one("#title", Static).update(chat.title or "New chat")
            self.query_one(QueueBar).show(chat.queue, self._when(chat))

    def _when(self, chat: Chat) -> str:
        if not self.chats.ready:
            return "sent when the model is ready"
        return "sent next" if chat.busy else "enter sends it"

    def entries_changed(self, chat: Chat) -> None:
        if chat is self.chat and self.is_mounted:
            self._sync()

    def text_returned(self, chat: Chat, text: str) -> None:
        if chat is self.chat:
            self.prompt.give_back(text)
        else:
            chat.draft = f"{text}\n{chat.draft}".strip()

    def chat_failed(self, chat: Chat, error: Exception) -> None:
        failed = chat.entries[-1].status == "failed" if chat.entries else False
        if chat is not self.chat or not failed:  # else the transcript says it
            self.tell(error)

    def tell(self, error: BaseException) -> None:
        """Show an error in words."""
        notice = describe(error)
        self.notify(notice.text, title=notice.title, severity=notice.severity, markup=False, timeout=10)

    def say(self, text: str, title: str = "", *, warn: bool = False) -> None:
        """Show a short notice."""
        self.notify(text, title=title, severity="warning" if warn else "information", markup=False)

    # looking at a chat

    def switch(self, chat: Chat) -> None:
        """Put a chat on the screen; what was typed in the other one stays there."""
        if self.chat is not None:
            self.chat.draft = self.prompt.text
        self.chat = self.chats.visible = chat
        self.prompt.put(chat.draft)
        self.chats_changed()
        self.chat_changed(chat)
        self._open(chat)

    @work(exclusive=True, group="open")
    async def _open(self, chat: Chat) -> None:
        try:
            await self.chats.open(chat)
        except Exception as error:
            self.tell(error)
        first = len(self.chats.all) == 1 and chat.blank
        await self.transcript.show(chat, Greeting(self._model_words()) if first else Hint())
        self._note_end()
        self.poll()

    @work(group="sync")
    async def _sync(self) -> None:
        await self.transcript.sync()
        self.transcript.follow()
        self._note_end()

    def _model_words(self) -> str:
        return self.runtime.model_name or self.loader.name or self._model

    # what the person does

    def on_prompt_sent(self, event: Prompt.Sent) -> None:
        chat, text = self.chat, event.text
        if chat is None:
            return
        if not text.strip():
            self.chats.start(chat)
            return
        meant = parse(text)
        if isinstance(meant, Message):
            self.prompt.put("")
            self.chats.send(chat, meant.text)
            self.transcript.follow()
            if not self.chats.ready and self.loader.name is None:
                self.say("No model is loaded; the message waits. Choose one with /model.", warn=True)
        elif isinstance(meant, Run):
            self.prompt.put("")
            self.run_command(meant.command, meant.args)
        else:
            hint = f"Did you mean /{meant.near}?" if meant.near else "/help lists the commands."
            self.say(f"There is no command /{meant.name}. {hint}", warn=True)

    def on_prompt_recall(self) -> None:
        if self.chat is None:
            return
        taken = None if self.prompt.text else self.chats.take_back(self.chat)
        if taken is not None:
            self.prompt.put(taken)
            return
        sent = self.chat.last_sent
        current = self.prompt.text
        if current in sent:
            sent = sent[: len(sent) - 1 - sent[::-1].index(current)]
        if sent:
            self.prompt.put(sent[-1], recalled=True)

    def on_queue_bar_take_back(self) -> None:
        taken = self.chats.take_back(self.chat) if self.chat else None
        if taken is not None:
            self.prompt.give_back(taken)
            self.prompt.focus()

    def on_prompt_stop(self) -> None:
        selected = self.get_selected_text()
        if selected:
            self.copy(selected)
        elif not self.chat or not self.chats.stop(self.chat):
            self.say("ctrl+q quits.")

    def on_prompt_scroll(self, event: Prompt.Scroll) -> None:
        view = self.transcript
        view.scroll_relative(y=event.direction * max(1, view.size.height - 2), animate=False)

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

    # completions

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        if event.text_area is self.prompt:
            rows = completions_for(self.prompt.text, self)
            self.query_one(Completions).offer(rows)
            self.prompt.completing = bool(rows)

    def on_prompt_key(self, event: Prompt.Key) -> None:
        offered = self.query_one(Completions)
        if event.key == "up":
            offered.action_cursor_up()
        elif event.key == "down":
            offered.action_cursor_down()
        elif event.key == "escape" or offered.chosen is None:
            self._close_completions()
        else:
            self._complete(offered.chosen, run=event.key == "enter")

    def on_completions_option_selected(self, event: Completions.OptionSelected) -> None:
        if event.option_id is not None:
            self._complete(event.option_id, run=True)
        self.prompt.focus()

    def _complete(self, text: str, *, run: bool) -> None:
        self._close_completions()
        if run and not text.endswith(" "):
            self.on_prompt_sent(Prompt.Sent(text))
        else:
            self.prompt.put(text)

    def _close_completions(self) -> None:
        self.query_one(Completions).offer([])
        self.prompt.completing = False

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

    def _loading_changed(self) -> None:
        if self.is_mounted:
            self.query_one(LoadBanner).show(self.loader.name, self.loader.progress)
            if self.chat is not None:
                self.chat_changed(self.chat)

    def poll(self) -> None:
        """Look at the engine and draw what has changed."""
        engine = self.runtime.engine
        stats = engine.stats() if engine is not None else None
        panel = self.query_one(MetricsPanel)
        panel.note(stats)
        context = self.context_used(stats)
        live = self.transcript.live_view()
        request = self._request(stats)
        if live is not None and not live.entry.text:
            live.say(progress(request))
        self.query_one(StatusLine).show(
            self._status_model(),
            self.strategy(),
            context,
            stats.tokens_per_second if stats else 0.0,
            stats.active if stats else 0,
        )
        if panel.display:
            titles = {chat.record.id: chat.title for chat in self.chats.all if chat.record}
            visible = self.chat.record.id if self.chat and self.chat.record else None
            panel.show(
                stats, self._reading, titles=titles, visible=visible, last=self._last(), context=context
            )
            self._read_devices()
        self._prune()
        self._note_end()

    @work(exclusive=True, group="prune")
    async def _prune(self) -> None:
        await self.transcript.prune()

    @work(group="devices")
    async def _read_devices(self) -> None:
        self._reading = await asyncio.to_thread(self._devices.read)

    def _request(self, stats: EngineStats | None) -> RequestStats | None:
        if stats is None or self.chat is None or self.chat.record is None:
            return None
        return next((r for r in stats.requests if r.session_id == self.chat.record.id), None)

    def _last(self) -> Any:
        replies = [e for e in (self.chat.entries or []) if e.timings] if self.chat else []
        return replies[-1].timings if replies else None

    def context_used(self, stats: EngineStats | None) -> tuple[int, int] | None:
        engine = self.runtime.engine
        if engine is None:
            return None
        request, last = self._request(stats), self._last()
        if request is not None:
            used = request.prompt_tokens + request.completion_tokens
        else:
            used = last.get("prompt_tokens", 0) + last.get("completion_tokens", 0) if last else 0
        return used, engine.info.context_tokens

    def _status_model(self) -> str:
        if self.loader.name is not None:
            return f"loading {self.loader.name}"
        return self.runtime.model_name or "no model: /model"

    def strategy(self) -> str:
        """The context strategy of the visible chat."""
        own = self.chat.record.strategy if self.chat and self.chat.record else None
        if own is None and self.chat is not None:
            own = self.chat.settings.get("strategy")
        return own or self.runtime.config.strategy

    # the room there is

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    def fold(self, name: str) -> None:
        """Show or hide the list of chats (`sessions`) or the panel (`metrics`)."""
        shown = self.query_one(f"#{name}").display
        self._folded[name] = shown
        if not shown and self.size.width < _LIST_FROM:  # room for one of them only
            self._folded["sessions" if name == "metrics" else "metrics"] = True
        self._arrange(self.size.width, self.size.height)
        self.poll()

    def _arrange(self, width: int, height: int) -> None:
        room = (width >= _LIST_FROM, width >= _PANEL_FROM)
        if room != self._room:  # what was folded by hand in another width does not count in this one
            self._room = room
            self._folded.clear()
        sessions, metrics = self.query_one("#sessions"), self.query_one("#metrics")
        sessions.display = not self._folded.get("sessions", not room[0])
        metrics.display = not self._folded.get("metrics", not room[1])
        self.set_class(height >= _ROOMY, "-roomy")

    def _note_end(self) -> None:
        behind = not self.transcript.at_end
        live = self.transcript.live_view() is not None
        self._new_text = behind and (live or self._new_text)
        self.query_one("#jump").display = self._new_text
