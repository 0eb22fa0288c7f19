"""The help screen: keys and commands, from the table of actions."""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from stevemin_chat.tui.actions import COMMANDS, KEYS
from stevemin_chat.tui.commands import Command

__all__ = ["HelpScreen"]


class HelpScreen(ModalScreen[None]):
    """All keys and commands; escape or F1 closes it."""

    CSS_PATH = "help.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q", "dismiss(None)", "Close", show=False)]

    def compose(self) -> ComposeResult:
        with Vertical(classes="help"):
            yield Static("Help", classes="title", markup=False)
            with VerticalScroll():
                yield Static("In the prompt", classes="heading", markup=False)
                for keys, what in KEYS:
                    yield _row(keys, "", what)
                for group, commands in groupby(
                    sorted(COMMANDS, key=_group), key=lambda command: command.group
                ):
                    yield Static(group, classes="heading", markup=False)
                    for command in commands:
                        yield _row(f"/{command.name} {command.args}", first_key(command), command.help)
                        for below in command.below:
                            yield _row(f"/{command.name} {below.name} {below.args}", "", below.help)
                yield Static(
                    "A message that starts with // is sent with one slash.", classes="about", markup=False
                )
            yield Static("esc closes · ↑ ↓ scroll", classes="keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def first_key(command: Command) -> str:
    """A command's key as people write it."""
    key = command.key.split(",")[0]
    return {"escape": "esc"}.get(key, key).replace("up", "↑").replace("down", "↓") if key else ""


def _group(command: Command) -> int:
    return [other.group for other in COMMANDS].index(command.group)


def _row(what: str, key: str, text: str) -> Horizontal:
    return Horizontal(
        Static(what.strip(), classes="what", markup=False),
        Static(key, classes="key", markup=False),
        Static(text, classes="text", markup=False),
        classes="row",
    )
