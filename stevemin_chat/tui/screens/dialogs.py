"""Dialogs over the chat: a question, a line, a text, a choice. Escape cancels, and the result is None.

Texts may come from a model or a database: they are made safe for a terminal here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from stevemin_chat.text import one_line, sanitize

__all__ = ["Choice", "Choose", "Confirm", "EditLine", "EditText"]

_WIDE = 88  # columns of a wide dialog, as in dialogs.tcss
_EDGES = 8  # columns of its padding and scrollbar
_CLOSE = Binding("escape", "dismiss(None)", "Close", show=False)


class Confirm(ModalScreen[bool]):
    """A question before something is done; Cancel has the focus.

    Args:
        yes: what is done, as the button says it: `Delete`.
    """

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        _CLOSE,
        Binding("y", "dismiss(True)", "Yes", show=False),
        Binding("n", "dismiss(False)", "No", show=False),
    ]

    def __init__(self, question: str, yes: str) -> None:
        super().__init__()
        self._question, self._yes = question, yes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(sanitize(self._question), markup=False)
            with Horizontal(classes="buttons"):
                yield Button(Content(f"{self._yes} (y)"), id="yes", compact=True)
                yield Button(Content("Cancel (n)"), id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


class EditLine(ModalScreen[str]):
    """Asks for one line of text."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [_CLOSE]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(one_line(self._title), classes="title", markup=False)
            yield Input(one_line(self._text), compact=True)
            yield Static("enter saves · esc cancels", classes="keys", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


class EditText(ModalScreen[str]):
    """Asks for text of several lines."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        _CLOSE,
        Binding("ctrl+s", "save", "Save", show=False, priority=True),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall"):
            yield Static(one_line(self._title), classes="title", markup=False)
            yield TextArea(sanitize(self._text), compact=True, highlight_cursor_line=False)
            yield Static(
                "ctrl+s saves · esc cancels · an empty text removes it", classes="keys", markup=False
            )

    def action_save(self) -> None:
        """Close with the text."""
        self.dismiss(self.query_one(TextArea).text)


@dataclass(frozen=True, slots=True)
class Choice:
    """One row of a `Choose`.

    Args:
        value: the result when this row is chosen.
        detail: a dim second line; empty for none.
        enabled: whether it can be chosen.
        mark: a word after the name.
    """

    value: str
    name: str
    detail: str = ""
    enabled: bool = True
    mark: str = ""


class Choose(ModalScreen[str]):
    """Asks for one of several rows.

    Args:
        chosen: the value in force; marked and highlighted.
        text: shown above the rows.
    """

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [_CLOSE]

    def __init__(
        self, title: str, choices: Sequence[Choice], *, chosen: str | None = None, text: str = ""
    ) -> None:
        super().__init__()
        self._title, self._text = title, text
        self._choices, self._chosen = tuple(choices), chosen

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -wide"):
            yield Static(one_line(self._title), classes="title", markup=False)
            if self._text:
                yield Static(sanitize(self._text), classes="about", markup=False)
            yield OptionList(*self._rows(), id="choices", compact=True)
            yield Static("enter chooses · esc closes", classes="keys", markup=False)

    def on_mount(self) -> None:
        values = [choice.value for choice in self._choices]
        options = self.query_one(OptionList)
        first = next((i for i, choice in enumerate(self._choices) if choice.enabled), None)
        options.highlighted = values.index(self._chosen) if self._chosen in values else first
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index].value)

    def _rows(self) -> list[Option]:
        room = min(_WIDE, int(self.app.size.width * 0.9)) - _EDGES  # name and detail take one line each
        return [
            Option(_row(choice, choice.value == self._chosen, room), disabled=not choice.enabled)
            for choice in self._choices
        ]


def _row(choice: Choice, chosen: bool, room: int) -> Content:
    name = Content.assemble(
        ("● " if chosen else "  ", "$primary"),
        (one_line(choice.name), "bold" if choice.enabled else ""),
        (f"   {one_line(choice.mark)}" if choice.mark else "", "$foreground 50%"),
    )
    name = name.truncate(room, ellipsis=True)
    if not choice.detail:
        return name
    detail = Content.styled(f"  {one_line(choice.detail)}", "$foreground 50%")
    return Content("\n").join([name, detail.truncate(room, ellipsis=True)])
