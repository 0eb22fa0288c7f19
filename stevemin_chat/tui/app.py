"""The terminal application: draws the chat screen, then opens everything else behind it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.worker import Worker

from stevemin_chat.base import ConfigFileError, Paths
from stevemin_chat.tui.alt_keys import teach_alt_keys
from stevemin_chat.tui.chat_screen import ChatScreen
from stevemin_chat.tui.palette import PaletteCommands
from stevemin_chat.tui.theme import STEVEMIN_THEME

if TYPE_CHECKING:
    from stevemin_chat.tui.controller import Controller
    from stevemin_chat.tui.view import View

    Opener = Callable[[View], Awaitable[Controller]]

__all__ = ["SteveminApp", "run_app"]

_TIMEOUT_S = 5.0  # for each thing that leaving waits for
_USE = (events.Key, events.Paste, events.MouseDown, events.MouseScrollDown, events.MouseScrollUp)


class SteveminApp(App[None]):
    """Draws the chat screen, opens the rest, attaches it.

    Args:
        opener: opens settings, store and chats for a view; see `controller.open_controller`.
        theme: of the first frame; an unknown one is reported when the settings are read.

    Attributes:
        failure: why the opener failed; the application has ended then.
    """

    TITLE = "stevemin"
    CSS_PATH = "chat_screen.tcss"  # Textual does not load the CSS of a default screen
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {PaletteCommands}
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit", priority=True, show=True)]
    NOTIFICATION_TIMEOUT = 6

    def __init__(
        self,
        opener: Opener,
        *,
        theme: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        teach_alt_keys()
        super().__init__()
        self.register_theme(STEVEMIN_THEME)
        # Without the watcher, which would parse all CSS again before the first frame.
        first = theme if theme in self.available_themes else STEVEMIN_THEME.name
        self.set_reactive(SteveminApp.theme, first)
        self.stylesheet.set_variables(self.get_css_variables())
        self.failure: Exception | None = None
        self._chat_screen = ChatScreen(now=now)
        self._opener = opener
        self._opening: asyncio.Task[None] | None = None
        self._controller: Controller | None = None
        self._leaving = self._left = False
        self._ahead: list[events.Key] = []  # typed before the prompt had the focus

    def get_default_screen(self) -> Screen[None]:
        """The chat."""
        return self._chat_screen

    def on_mount(self) -> None:
        self.call_after_refresh(self._begin)

    async def _begin(self) -> None:
        gc.enable()  # off since the start, see `cli.chat`
        await self._type_ahead()
        self._start_opening()

    def _start_opening(self) -> asyncio.Task[None]:
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        return self._opening

    async def _open(self) -> None:
        try:
            controller = self._controller = await self._opener(self._chat_screen)
            if self._left:
                return
            self._choose_theme(controller.runtime.config.theme)
            await controller.read()
            self._show(controller)
        except Exception as error:
            if not self._left:
                self.failure = error
                self.exit(return_code=1)

    def _show(self, controller: Controller) -> None:
        if not self._left:  # else there is no screen
            controller.begin()
            self._chat_screen.attach(controller)

    def _choose_theme(self, wanted: str | None) -> None:
        if not wanted:
            return
        if wanted in self.available_themes:
            self.theme = wanted
            return
        known = ", ".join(sorted(self.available_themes))
        self._chat_screen.say(f"There is no theme {wanted}. Known: {known}.", warn=True)

    async def on_unmount(self) -> None:
        if self._controller is not None:
            self._controller.documents.work.close()
            await self._controller.consolidating.stop()

    async def on_event(self, event: events.Event) -> None:
        """Whatever the person does has priority over summaries."""
        if isinstance(event, _USE) and self._controller is not None:
            self._controller.consolidating.disturb()
        if isinstance(event, events.Key):
            if self._chat_screen.focused is None and self._opening is None:
                self._ahead.append(event)
                return
            await self._type_ahead()
        await super().on_event(event)

    async def _type_ahead(self) -> None:
        """Hand on the keys that were pressed before there was a prompt."""
        while self._ahead:
            await super().on_event(self._ahead.pop(0))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """No palette over a dialog: its commands are the chat's."""
        return action != "command_palette" or self.screen is self._chat_screen

    async def store(self) -> None:
        """Stop the answers; store them, the drafts and the queues."""
        with suppress(NoMatches):  # nothing is drawn yet, and nothing typed
            with suppress(TimeoutError):
                await asyncio.wait_for(self._chat_screen.prompt.caught_up(), _TIMEOUT_S)
            if self._chat_screen.in_use:
                # What was typed needs an open store, even if the keys came before the first idle moment.
                await asyncio.shield(self._start_opening())
        if self._controller is not None:
            await self._controller.store()

    async def action_quit(self) -> None:
        """Store everything, then leave. A second time leaves without waiting."""
        # Not awaited: the message loop must be free to hear the second time.
        _: Worker[None] = self.run_worker(partial(self.leave, 0))

    async def leave(self, code: int) -> None:
        """Store everything, then end with this exit code; a second call ends without waiting."""
        if not self._leaving:
            self._leaving = True
            await self.store()
            if self._controller is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._controller.models.stop(), _TIMEOUT_S)
        self._left = True
        self.exit(return_code=code)

    def action_help_quit(self) -> None:
        """Ctrl-C outside the prompt."""
        self._chat_screen.prompt.action_copy_or_stop()

    async def close(self) -> None:
        """Close what the opener opened, also if the application ended before it was done."""
        if self._opening is not None:
            await self._opening
        if self._controller is not None:
            await self._controller.runtime.close()


def run_app(model: str | None) -> int:
    """Run the application until the person leaves; returns the exit code.

    Raises:
        Exception: what stopped it from opening (settings, store), when the terminal is restored.
    """
    return asyncio.run(_run(model, _wanted_theme()))


def _wanted_theme() -> str | None:
    """The theme in the settings, which the first frame needs; all else in them is read behind it."""
    path = Paths.resolve().config_file
    if not path.is_file():
        return None
    from stevemin_chat.base import read_toml  # loaded only here: most people have no such file

    try:
        _, settings = read_toml(path)
    except (OSError, ConfigFileError):  # reported when the settings are read
        return None
    theme = settings.get("theme")
    return theme if isinstance(theme, str) else None


async def _run(model: str | None, theme: str | None) -> int:
    async def opener(view: View) -> Controller:
        # The imports take most of a second: on a thread they leave the screen alive.
        await asyncio.to_thread(import_module, "stevemin_chat.tui.widgets.turns")
        module = await asyncio.to_thread(import_module, "stevemin_chat.tui.controller")
        controller: Controller = await module.open_controller(view, model=model)
        return controller

    app = SteveminApp(opener, theme=theme)
    loop = asyncio.get_running_loop()
    leaving: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(
        signal.SIGTERM, lambda: leaving.add(loop.create_task(app.leave(128 + signal.SIGTERM)))
    )
    signal.signal(signal.SIGHUP, lambda *_: Thread(target=_hang_up, args=(app, loop)).start())
    try:
        await app.run_async()
    finally:
        await app.close()
    if app.failure is not None:
        raise app.failure
    return app.return_code or 0


def _hang_up(app: SteveminApp, loop: asyncio.AbstractEventLoop) -> None:
    """The terminal is gone: store everything and end.

    Textual cannot be asked to leave: it would wait for ever for a writer that has no terminal. Even the event
    loop may already be blocked; then only the text stored up to half a second ago survives.
    """
    with suppress(Exception):
        asyncio.run_coroutine_threadsafe(app.store(), loop).result(_TIMEOUT_S)
    os._exit(128 + signal.SIGHUP)
