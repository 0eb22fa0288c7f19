"""Help: keys and commands, made from the table of actions."""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from stevemin_chat.commands import COMMANDS, KEYS, Command

__all__ = ["HelpScreen"]

_WIDTHS = (24, 14)  # columns of the command and of its key


class HelpScreen(ModalScreen[None]):
    """Everything one can do; escape or F1 closes it."""

    CSS_PATH = "help.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q", "dismiss(None)", "Close", show=False)]

    def compose(self) -> ComposeResult:
        with Vertical(classes="help"):
            yield Static("Help", classes="title", markup=False)
            with VerticalScroll():
                yield Static(help_text())
            yield Static("esc closes · ↑ ↓ scroll", classes="keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def help_text() -> Content:
    """The help as text."""
    lines = [Content.styled("In the prompt", "bold $primary")]
    lines += [_row(keys, "", what) for keys, what in KEYS]
    for group, commands in groupby(sorted(COMMANDS, key=_group), key=lambda command: command.group):
        lines += [Content(""), Content.styled(group, "bold $primary")]
        lines += [_row(f"/{c.name} {c.args}".strip(), first_key(c), c.help) for c in commands]
    lines += [
        Content(""),
        Content.styled("A message that starts with // is sent with one slash.", "$foreground 60%"),
    ]
    return Content("\n").join(lines)


def first_key(command: Command) -> str:
    """A command's key as people write it."""
    key = command.key.split(",")[0]
    return {"escape": "esc"}.get(key, key).replace("up", "↑").replace("down", "↓") if key else ""


def _group(command: Command) -> int:
    return [other.group for other in COMMANDS].index(command.group)


def _row(what: str, key: str, text: str) -> Content:
    return Content.assemble(
        (what.ljust(_WIDTHS[0]), "$foreground"),
        (key.ljust(_WIDTHS[1]), "$accent"),
        (text, "$foreground 65%"),
    )
