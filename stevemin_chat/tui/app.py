"""The terminal application."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from threading import Thread
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.screen import Screen

from engine.devices import DeviceMonitor
from stevemin_chat.runtime import Runtime
from stevemin_chat.tui.chat_screen import ChatScreen
from stevemin_chat.tui.palette import PaletteCommands
from stevemin_chat.tui.theme import STEVEMIN_THEME

if TYPE_CHECKING:
    from stevemin_chat.base.config import Config
    from stevemin_chat.base.paths import Paths

__all__ = ["SteveminApp", "run_app"]

_PATIENCE = 5.0  # seconds that leaving waits for a model load to stop
_WANTING = (events.Key, events.Paste, events.MouseDown, events.MouseScrollDown, events.MouseScrollUp)


class SteveminApp(App[None]):
    """Chats over one runtime, which the caller closes.

    Attributes:
        consolidating: makes summaries while the person does nothing, unless the settings say no.
    """

    TITLE = "stevemin"
    CSS_PATH = "chat_screen.tcss"  # Textual does not load the CSS of a default screen
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {PaletteCommands}
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit", priority=True, show=True)]
    NOTIFICATION_TIMEOUT = 6

    def __init__(
        self,
        runtime: Runtime,
        *,
        model: str | None = None,
        devices: DeviceMonitor | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__()
        self.runtime = runtime
        self._chat_screen = ChatScreen(
            runtime, devices or DeviceMonitor(), model=model or runtime.config.model, now=now
        )
        self.consolidating = self._chat_screen.consolidating
        self._leaving = False

    def get_default_screen(self) -> Screen[None]:
        """The chat."""
        return self._chat_screen

    def on_mount(self) -> None:
        if self.runtime.config.memory.summaries:
            self.consolidating.start()
        self.register_theme(STEVEMIN_THEME)
        wanted = self.runtime.config.theme or STEVEMIN_THEME.name
        if wanted in self.available_themes:
            self.theme = wanted
            return
        self.theme = STEVEMIN_THEME.name
        known = ", ".join(sorted(self.available_themes))
        self.notify(f"There is no theme {wanted}. Known: {known}.", severity="warning", markup=False)

    async def on_unmount(self) -> None:
        await self.consolidating.stop()

    async def on_event(self, event: events.Event) -> None:
        """The engine is the person's from the first key on."""
        if isinstance(event, _WANTING):
            self.consolidating.disturb()
        await super().on_event(event)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """No palette over a dialog: its commands are the chat's."""
        return action != "command_palette" or self.screen is self._chat_screen

    async def store(self) -> None:
        """Stop the answers and store them and what is typed."""
        await self._chat_screen.chats.close()
        await self._chat_screen.keep_drafts()  # with what is in the prompt

    async def action_quit(self) -> None:
        """Store what is being written, then leave. A second time leaves at once."""
        if not self._leaving:
            self._leaving = True
            await self.store()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._chat_screen.loader.cancel(), _PATIENCE)
        self.exit()

    def action_help_quit(self) -> None:
        """Ctrl-C outside the prompt."""
        self._chat_screen.on_prompt_stop()


def run_app(paths: Paths, config: Config, model: str | None) -> int:
    """Run the application until the person leaves; returns the exit code.

    Raises:
        Exception: what `Runtime.open` raises, before the screen is touched.
    """
    return asyncio.run(_run(paths, config, model))


async def _run(paths: Paths, config: Config, model: str | None) -> int:
    runtime = await Runtime.open(paths, config, meaning=True)
    try:
        app = SteveminApp(runtime, model=model)
        loop = asyncio.get_running_loop()
        leaving: set[asyncio.Task[None]] = set()
        loop.add_signal_handler(signal.SIGTERM, lambda: leaving.add(loop.create_task(app.action_quit())))
        signal.signal(signal.SIGHUP, lambda *_: Thread(target=_hang_up, args=(app, loop)).start())
        await app.run_async()
        return app.return_code or 0
    finally:
        await runtime.close()


def _hang_up(app: SteveminApp, loop: asyncio.AbstractEventLoop) -> None:
    """The terminal is gone: store what is there and end.

    Textual cannot be asked to leave: it would wait for ever for a writer that has no terminal. Even the event
    loop may be waiting there already; then what the replies' writers stored in the last half second is all.
    """
    with suppress(Exception):
        asyncio.run_coroutine_threadsafe(app.store(), loop).result(_PATIENCE)
    os._exit(128 + signal.SIGHUP)
