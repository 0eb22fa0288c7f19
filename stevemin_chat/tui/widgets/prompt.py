"""The prompt: several lines, Enter sends, slash commands with completion; a paste keeps its lines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult, Selection

from stevemin_chat.text import Span, Typed, edited, joined, part, quoted_in, sanitize
from stevemin_chat.tui.commands import Run, Wrong, offers, parse

if TYPE_CHECKING:
    from stevemin_chat.tui.commands import Command, Subcommand
    from stevemin_chat.tui.widgets.bands import Completions

__all__ = ["Port", "Prompt"]

_PASTED_WORDS = 3  # a paste of more is not the person's own words; up to that it is a name, or a link
# In scripts without blanks between words each character counts.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_LONGEST_WORD = 200  # characters: more are no name
_MOST_STATES = 10_000
_NEWLINE_KEYS = {"ctrl+j", "shift+enter", "alt+enter"}
_COMPLETION_KEYS = {"up", "down", "tab", "enter", "escape"}


class Port(Protocol):
    """Takes what is typed."""

    def send(self, text: str) -> None:
        """Send a message; a `Typed` one knows what was pasted."""

    def send_queue(self) -> None:
        """Send what is queued: Enter in an empty prompt."""

    def run(self, command: Command | Subcommand, args: str) -> None:
        """Carry out a command."""

    def warn(self, text: str) -> None:
        """Show why a command cannot be carried out."""

    def values(self, command: Command) -> Sequence[str]:
        """Known arguments of a command."""
        ...

    def recall(self, current: str) -> None:
        """Put an older message into the prompt.

        Args:
            current: the text in the prompt: empty, or what was recalled before.
        """

    def interrupt(self) -> None:
        """Ctrl-C with nothing selected in the prompt."""


class Prompt(TextArea):
    """Where a person types. Every key takes effect here, in the order of typing: Enter, editing keys, and the
    keys of commands. Keys that follow Enter in the same write go to the next message or the next chat; those
    that follow a key which opens a dialog or moves the focus still come here.

    Args:
        commands: what a text that starts with a slash may name, with their keys.
        completions: shows what a half-typed command may become.

    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c,super+c", "copy_or_stop", "Copy", show=False),
        Binding("pageup", "scroll_chat(-1)", "Scroll up", show=False),
        Binding("pagedown", "scroll_chat(1)", "Scroll down", show=False),
    ]

    class Early(Message):
        """Enter was pressed before a port was attached."""

    class Scroll(Message):
        """Scroll the chat by a page."""

        def __init__(self, direction: int) -> None:
            super().__init__()
            self.direction = direction

    def __init__(self, commands: Sequence[Command], completions: Completions, *, id: str) -> None:
        super().__init__(
            id=id, soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False, compact=True
        )
        self._early: list[str | Command] = []  # entered before a port was attached, in order
        self._commands = commands
        self._keys = {key: command for command in commands for key in command.key.split(",") if key}
        self._completions = completions
        self._offered_for = ""  # the text that the list of completions was made for
        self._port: Port | None = None
        self._recalled: str | None = None
        self._typed = Typed()  # the text, and what of it was pasted
        self._inserting: str | None = None  # by the edit under way, if that knows what is pasted
        # What was pasted into the texts that undo and redo may bring back, by the hash of the text.
        self._states: dict[int, tuple[Span, ...]] = {}

    @property
    def typed(self) -> Typed:
        """The text, with what was pasted into it."""
        return self._typed

    def edit(self, edit: Edit) -> EditResult:
        """Every key and every paste comes through here."""
        before = self._typed
        start, end = sorted(map(self._index, (edit.from_location, edit.to_location)))
        result = super().edit(edit)
        self._note(edited(before, start, end, edit.text if self._inserting is None else self._inserting))
        return result

    def undo(self) -> None:
        self._bring_back(super().undo)

    def redo(self) -> None:
        self._bring_back(super().redo)

    def load_text(self, text: str) -> None:
        super().load_text(text)
        self._states.clear()
        self._note(Typed(self.text, quoted_in(text)))

    def _index(self, location: tuple[int, int]) -> int:
        row, column = location
        return sum(len(self.document.get_line(before)) + 1 for before in range(row)) + column

    def _note(self, typed: Typed) -> None:
        if len(self._states) >= _MOST_STATES:
            self._states.clear()
        self._typed = typed
        self._states[hash(typed)] = typed.quoted

    def _bring_back(self, step: Callable[[], None]) -> None:
        before, cursor = self.text, self.selection
        self.selection = Selection()  # TextArea looks for the cursor before it moves it: its line may be gone
        step()
        text = self.text
        if text == before:
            self.selection = cursor
        # A text that is too old to be known counts as pasted.
        self._note(Typed(text, self._states.get(hash(text), [(0, len(text), "pasted")])))

    def attach(self, port: Port) -> None:
        """Hand what is typed to this port from now on, first what was entered early."""
        self._port = port
        self._offered_for = ""  # the port knows more completions
        if not self._early:
            return
        early, self._early = self._early, []
        typed = self.typed  # after them: it belongs to the chat that they lead to
        self.put("")
        for entry in early:
            if isinstance(entry, str):
                self._hand_on(port, entry)
            else:
                port.run(entry, "")
        self.put(joined((text for text in (self.typed, typed) if text.strip()), "\n"))

    @property
    def early(self) -> list[str]:
        """Texts entered before a port was attached."""
        return [entry for entry in self._early if isinstance(entry, str)]

    def carry_out(self, command: Command) -> None:
        """Run a command without arguments, after everything that was entered before it."""
        if self._port is not None:
            self._port.run(command, "")
        else:
            self._early.append(command)

    def put(self, text: str, *, recalled: bool = False) -> None:
        """Replace the text and move the cursor to its end."""
        self.load_text(text)
        self.move_cursor(self.document.end)
        self._recalled = text if recalled else None

    def give_back(self, text: str) -> None:
        """Insert a text that could not be sent in front of the present text."""
        self.put(joined((text, self.typed), "\n") if self.text.strip() else text)

    def choose(self, text: str) -> None:
        """Take a completion, and run it unless an argument follows."""
        self._close()
        if text.endswith(" "):
            self.put(text)
        else:
            self._take(text)

    async def caught_up(self) -> None:
        """Returns when the keys pressed so far are handled; bindings of the application overtake them."""
        handled = asyncio.Event()
        self.call_later(handled.set)
        await handled.wait()

    @property
    def completing(self) -> bool:
        """Whether the list of completions is open, and made for the present text."""
        return self._completions.display and self.text == self._offered_for

    async def _on_key(self, event: events.Key) -> None:
        key = event.key
        if key in _COMPLETION_KEYS:
            self._offer()  # keys can be faster than TextArea.Changed
        if key in _COMPLETION_KEYS and self.completing:
            self._complete(key)
        elif key == "enter":
            self._take(self.typed)
        elif key in _NEWLINE_KEYS:
            self._replace_via_keyboard("\n", *self.selection)
        elif key == "up" and self._port is not None and (not self.text or self.text == self._recalled):
            self._port.recall(self.text)
        elif key in self._keys:
            self.carry_out(self._keys[key])
        else:
            if key.startswith("alt+"):
                event.character = None  # TextArea would insert the letter
            if await self._edited(key):
                event.stop()
            return
        event.stop()
        event.prevent_default()

    async def _edited(self, key: str) -> bool:
        """Run the prompt's own binding of a key; the application would run it after the keys behind it."""
        for binding in self._bindings.key_to_bindings.get(key, ()):
            if not binding.priority and await self.app.run_action(binding.action, self):
                return True
        return False

    def _complete(self, key: str) -> None:
        chosen = self._completions.chosen
        if key == "up":
            self._completions.action_cursor_up()
        elif key == "down":
            self._completions.action_cursor_down()
        elif key == "escape" or chosen is None:
            self._close()
        elif key == "enter":
            self.choose(chosen)
        else:
            self._close()
            self.put(chosen)

    def _offer(self) -> None:
        """Update the list of completions for the present text."""
        if self.text != self._offered_for:
            self._offered_for = self.text
            values = self._port.values if self._port is not None else _no_values
            self._completions.offer(offers(self.text, self._commands, values))

    def _close(self) -> None:
        self._offered_for = self.text
        self._completions.offer(())

    def _take(self, text: str) -> None:
        """Empty the prompt and hand this text on; a command that cannot be carried out stays."""
        if self._port is not None:
            self.put("")
            self._hand_on(self._port, text)
        elif text.strip():
            self.put("")
            self._early.append(text)
            self.post_message(self.Early())

    def _hand_on(self, port: Port, text: str) -> None:
        if not text.strip():
            port.send_queue()
            return
        meant = parse(text, self._commands)
        if isinstance(meant, Wrong):
            self.give_back(text)
            port.warn(meant.notice)
        elif isinstance(meant, Run):
            port.run(meant.command, meant.args)
        else:
            end = len(text.rstrip())
            port.send(part(text, end - len(meant.text), end))

    def _on_text_area_changed(self) -> None:
        self._offer()

    async def _on_paste(self, event: events.Paste) -> None:
        # Terminals send pasted line ends as carriage returns.
        event.stop()
        event.prevent_default()
        self._paste(sanitize(event.text.replace("\r\n", "\n").replace("\r", "\n")))

    def action_paste(self) -> None:
        """Insert what was copied in the application."""
        self._paste(self.app.clipboard)

    def _paste(self, text: str) -> None:
        self._inserting = Typed(text, [(0, len(text), "pasted")] if _says_something(text) else ())
        try:
            result = self._replace_via_keyboard(text, *self.selection)
        finally:
            self._inserting = None
        if result is not None:
            self.move_cursor(result.end_location)

    def action_copy_or_stop(self) -> None:
        """Copy the selection, else stop the answer."""
        if self.selected_text:
            self.action_copy()
        elif self._port is not None:
            self._port.interrupt()

    def action_scroll_chat(self, direction: int) -> None:
        """The prompt is short: its paging keys belong to the chat."""
        self.post_message(self.Scroll(direction))


def _says_something(text: str) -> bool:
    """Whether a paste is more than a name, a number or a link that belongs to the person's sentence."""
    words = len(text.split()) + len(_UNSPACED.findall(text))
    return words > _PASTED_WORDS or len(text.strip().splitlines()) > 1 or len(text) > _LONGEST_WORD


def _no_values(command: Command) -> Sequence[str]:
    return ()
