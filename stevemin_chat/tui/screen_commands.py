"""Commands about the screen: fold, theme, help, quit."""

from __future__ import annotations

from textual import work

from stevemin_chat.tui.commanding import Commanding
from stevemin_chat.tui.screens.dialogs import Choice, Choose
from stevemin_chat.tui.screens.help import HelpScreen

__all__ = ["ScreenCommands"]


class ScreenCommands(Commanding):
    """Mixed into the chat screen."""

    def command_list(self, args: str) -> None:
        self._screen.fold("sessions")

    def command_panel(self, args: str) -> None:
        self._screen.fold("metrics")

    def command_theme(self, args: str) -> None:
        screen = self._screen
        if args in screen.app.available_themes:
            screen.app.theme = args
        elif args:
            screen.say(f"There is no theme {args}. /theme lists them.", warn=True)
        else:
            self._choose_theme()

    @work
    async def _choose_theme(self) -> None:
        app = self._screen.app
        rows = [Choice(name, name) for name in sorted(app.available_themes)]
        name = await app.push_screen_wait(Choose("Theme", rows, chosen=app.theme))
        if name:
            app.theme = name

    def command_help(self, args: str) -> None:
        self._screen.app.push_screen(HelpScreen())

    @work
    async def command_quit(self, args: str) -> None:
        await self._screen.app.action_quit()
