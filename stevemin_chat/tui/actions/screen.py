"""Commands about the screen: what is shown, theme, help, quit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.tui.commands import Table

if TYPE_CHECKING:
    from stevemin_chat.tui.controller import Controller

__all__ = ["COMMANDS"]

_table = Table("Screen")


@_table.command(
    "list",
    "Show or hide the chats",
    "Show or hide the list of chats.",
    key="ctrl+l",
    label="Chats",
)
def fold_list(controller: Controller, args: str) -> None:
    controller.view.fold("sessions")


@_table.command(
    "panel",
    "Show or hide the stats",
    "Show or hide the panel with the engine's stats.",
    key="ctrl+g",
    label="Stats",
)
def fold_panel(controller: Controller, args: str) -> None:
    controller.view.fold("metrics")


@_table.command(
    "theme",
    "Theme",
    "Change the colours for this run; set `theme` in config.toml to keep them.",
    "[name]",
    values=lambda controller: controller.view.themes,
)
async def choose_theme(controller: Controller, args: str) -> None:
    view = controller.view
    name: str | None = args
    if not name:
        from stevemin_chat.tui.screens.dialogs import Choice, Choose

        rows = [Choice(theme, theme) for theme in view.themes]
        name = await view.ask(Choose("Theme", rows, chosen=view.theme))
    if name and name in view.themes:
        view.theme = name
    elif name:
        controller.warn(f"There is no theme {name}. /theme lists them.")


@_table.command("help", "Help", "Show keys and commands.", key="f1", label="Help")
def show_help(controller: Controller, args: str) -> None:
    controller.view.help()


@_table.command("quit", "Quit", "Store everything and leave.", key="ctrl+q", label="Quit")
def leave(controller: Controller, args: str) -> None:
    controller.view.quit()


COMMANDS = _table.commands
