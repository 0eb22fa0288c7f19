"""The controller of the chat screen: turns keys and commands into calls of chats, models and memory.

A plain object on the event loop. It sees the screen only through `View`, and shows there what has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from engine.devices import DeviceMonitor
from stevemin_chat.base import begin
from stevemin_chat.runtime import Runtime
from stevemin_chat.text import joined
from stevemin_chat.tui.document_actions import DocumentActions
from stevemin_chat.tui.memory_actions import MemoryActions
from stevemin_chat.tui.model_actions import ModelActions
from stevemin_chat.tui.status import Status

if TYPE_CHECKING:
    from engine.devices import DeviceReading
    from stevemin_chat.chats import Chat
    from stevemin_chat.recall import Place
    from stevemin_chat.tui.commands import Command, Subcommand
    from stevemin_chat.tui.view import View

__all__ = ["Controller", "open_controller", "opener_over"]


class Controller:
    """One for each chat screen; the runtime's owner closes the runtime.

    Args:
        model: loaded at the start.
        devices: reads RAM and GPUs; blocks.

    Attributes:
        models, memory, documents: what a person does with models, long-term memory and documents.
        consolidating: writes summaries and looks for facts while nobody asks for anything.
        reading: the newest reading of RAM and GPUs.
    """

    def __init__(self, runtime: Runtime, view: View, *, model: str, devices: DeviceMonitor) -> None:
        self.runtime = runtime
        self.view = view
        workspace = runtime.open_workspace(self)
        self.chats = workspace.chats
        self.remembering = workspace.remembering
        self.consolidating = workspace.consolidating
        self.models = ModelActions(runtime, self.chats, workspace.loader, view, first=model)
        self.memory = MemoryActions(self.remembering, view, usual_strategy=runtime.config.strategy)
        self.documents = DocumentActions(runtime.memory, view)
        self.reading: DeviceReading | None = None
        self._devices = devices
        self._note = ""

    async def read(self) -> None:
        """Read the chats."""
        try:
            await self.chats.load()  # first: without it no draft is read or written
            await self.remembering.look()
        except Exception as error:
            self.view.tell(error)

    def begin(self) -> None:
        """Show one of the chats that were read, and load the model."""
        first = self.chats.opening()
        if self.view.entered or self.view.draft:  # before the chats were read
            first = self.chats.new() if first.draft else first
            self.chats.keep_draft(first, self.view.draft)
        self.switch(first)
        self.models.begin()
        settings = self.runtime.config.memory
        if settings.summaries or settings.facts_by_model == "auto":
            self.consolidating.start()
        self.documents.work.sync(asked=False)

    async def store(self) -> None:
        """Stop the answers; store them, the drafts and the queues."""
        self._keep_draft()
        await self.chats.close()
        # The store may have refused a message meanwhile, which is then in the prompt again.
        self._keep_draft()
        await self.chats.keep_drafts()

    # what is typed; a `prompt.Port`

    def send(self, text: str) -> None:
        """Send a message in the visible chat, or queue it until chat and model are free."""
        if self.chat is None:
            return
        self.chats.answers.enqueue(self.chat, text)
        self.view.follow()
        if not self.chats.answers.ready and self.models.loading is None:
            self.view.say("No model is loaded; the message waits. Choose one with /model.", warn=True)

    def send_queue(self) -> None:
        """Send what waits in the queue."""
        if self.chat is not None:
            self.chats.answers.start(self.chat)

    def run(self, command: Command | Subcommand, args: str = "") -> None:
        """Carry out a command."""
        if iscoroutinefunction(command.handler):
            self.view.run(partial(command.handler, self, args))
        else:
            command.handler(self, args)

    def values(self, command: Command) -> Sequence[str]:
        """Known arguments of a command."""
        return command.values(self) if command.values is not None else ()

    def recall(self, current: str) -> None:
        """Put an older message into the prompt: first what is queued, then what was sent."""
        if self.chat is None:
            return
        taken = None if current else self.chats.answers.take_back(self.chat)
        if taken is not None:
            self.view.put(taken)
            return
        sent = self.chat.last_sent
        if current in sent:
            sent = sent[: len(sent) - 1 - sent[::-1].index(current)]
        if sent:
            self.view.put(sent[-1], recalled=True)

    def take_back(self) -> bool:
        """Take the newest queued message back into the prompt; False when the queue is empty."""
        taken = self.chats.answers.take_back(self.chat) if self.chat is not None else None
        if taken is not None:
            self.view.give_back(taken)
        return taken is not None

    def interrupt(self) -> None:
        """Ctrl-C: copy the selection, else stop the answer, else say how to leave."""
        selected = self.view.selection
        if selected:
            self.view.copy(selected)
        elif self.chat is None or not self.chats.answers.stop(self.chat):
            self.view.say("ctrl+q quits.")

    def warn(self, text: str) -> None:
        """Show why something typed cannot be carried out."""
        self.view.say(text, warn=True)

    # the visible chat

    @property
    def chat(self) -> Chat | None:
        """The visible chat; None until `begin`."""
        return self.chats.visible

    @property
    def marked(self) -> Chat | None:
        """The chat that a key acts on: while the list has the focus, the highlighted one."""
        key = self.view.marked
        return next((chat for chat in self.chats.all if chat.key == key), self.chat)

    @property
    def strategy(self) -> str:
        """The context strategy of the visible chat."""
        return (self.chat.strategy if self.chat else None) or self.runtime.config.strategy

    def new_chat(self, title: str = "") -> None:
        """Show a new chat."""
        self._keep_draft()  # else the visible chat looks blank and is used again
        self.switch(self.chats.new(title))
        self.view.focus_prompt()

    def switch(self, chat: Chat, message_id: str | None = None) -> None:
        """Show a chat; what was typed in the other one stays there.

        Args:
            message_id: shown in place of the end.
        """
        self._keep_draft()
        self.chats.look_at(chat)
        self.view.put(chat.draft)
        self.chats_changed()
        self.chat_changed(chat)
        self.view.run(partial(self._open, chat, message_id))

    def switch_to(self, key: str) -> None:
        """Show the chat with this key."""
        chat = next((chat for chat in self.chats.all if chat.key == key), None)
        if chat is not None:
            self.switch(chat)
            self.view.focus_prompt()

    async def go_to(self, place: Place) -> None:
        """Show a chat at one of its messages."""
        try:
            self.switch(await self.chats.of_session(place.session_id), place.message_id)
        except Exception as error:
            self.view.tell(error)

    async def delete(self, chat: Chat) -> None:
        """Delete a chat; shows its neighbour if it was visible."""
        if chat not in self.chats.all:  # deleted while the person was asked
            return
        place = self.chats.all.index(chat)
        try:
            await self.chats.delete(chat)
        except Exception as error:
            self.view.tell(error)
            return
        if self.chat is None:  # it was visible
            rest = self.chats.all
            self.switch(rest[min(place, len(rest) - 1)] if rest else self.chats.new())

    async def change_setting(self, chat: Chat, setting: str, value: str, done: str) -> None:
        """Change a setting of a chat, and say so."""
        try:
            await self.chats.configure(chat, **{setting: value})
        except Exception as error:
            self.view.tell(error)
        else:
            self.view.say(done)
            self.view.refresh_status()

    async def _open(self, chat: Chat, message_id: str | None) -> None:
        try:
            await self.chats.open(chat)
        except Exception as error:
            self.view.tell(error)
        if chat is not self.chat:  # the person went on to another one
            return
        first = len(self.chats.all) == 1 and chat.blank
        if not await self.view.open(chat, message_id, first_model=self.models.label if first else None):
            self.view.say("That message is in another version of this chat, which is not on the screen.")
        self.view.refresh_status()

    def _keep_draft(self) -> None:
        if self.chat is not None:
            self.chats.keep_draft(self.chat, self.view.draft)

    # what is polled

    def note(self, text: str) -> None:
        """Show in the status line what takes seconds; empty when it is done."""
        self._note = text
        self.view.refresh_status()

    def status(self) -> Status:
        """What the status line and the stats panel show now."""
        summarising, reading = self.consolidating.summarising is not None, self.consolidating.reading
        doing = self.remembering.hint(summarising=summarising, reading=reading)
        return Status.read(
            self.runtime.engine,
            self.chat,
            model=self.models.line,
            strategy=self.strategy,
            hint=self._note or self.documents.work.words or doing,
            titles={chat.record.id: chat.title for chat in self.chats.all if chat.record},
            devices=self.reading,
        )

    async def read_devices(self) -> None:
        """Read RAM and GPUs for the next `status`."""
        self.reading = await asyncio.to_thread(self._devices.read)

    async def tidy(self) -> None:
        """Write drafts and queues if they have changed, and report news of the index once."""
        self._keep_draft()
        if (news := self.remembering.news()) is not None:
            self.view.say(news, "Search by words only")
        await self.chats.keep_drafts()

    # a `WorkspaceListener`

    def chats_changed(self) -> None:
        self.view.show_chats(self.chats.all, self.chat)

    def chat_changed(self, chat: Chat) -> None:
        self.view.show_state(chat, visible=chat is self.chat, queue_hint=self._queue_hint(chat))

    def entries_changed(self, chat: Chat) -> None:
        if chat is self.chat:
            self.view.sync()

    def text_returned(self, chat: Chat, text: str) -> None:
        if chat is self.chat:
            self.view.give_back(text)
        else:
            self.chats.keep_draft(chat, joined((text, chat.draft), "\n") if chat.draft.strip() else text)

    def draft_forgotten(self, chat: Chat) -> None:
        if chat is self.chat:
            self.view.put("")

    def chat_failed(self, chat: Chat, error: Exception) -> None:
        failed = chat.entries[-1].status == "failed" if chat.entries else False
        if chat is not self.chat or not failed:  # else the transcript shows it
            self.view.tell(error)

    def failed(self, error: Exception) -> None:
        self.view.tell(error)

    def loading_changed(self) -> None:
        self.view.show_load(self.models.loading, self.models.progress)
        if self.chat is not None:
            self.chat_changed(self.chat)

    def _queue_hint(self, chat: Chat) -> str:
        if chat.on_hold:
            return "kept from last time; enter sends it"
        if not self.chats.answers.ready:
            return "sent when the model is ready"
        return "sent next" if chat.busy else "enter sends it"


def opener_over(
    runtime: Runtime, *, model: str | None = None, devices: DeviceMonitor | None = None
) -> Callable[[View], Awaitable[Controller]]:
    """Makes the controller over a runtime that somebody else opened and closes."""

    async def opener(view: View) -> Controller:
        return Controller(
            runtime, view, model=model or runtime.config.model, devices=devices or DeviceMonitor()
        )

    return opener


async def open_controller(view: View, *, model: str | None) -> Controller:
    """Start the log, read the settings and open the store; no model is loaded yet.

    Raises:
        ConfigFileError: the settings are not valid.
        Exception: what `Runtime.open` raises.
    """
    paths, config = await asyncio.to_thread(begin)
    runtime = await Runtime.open(paths, config, meaning=True)
    return await opener_over(runtime, model=model)(view)
