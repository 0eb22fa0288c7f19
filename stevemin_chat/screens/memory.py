"""What is remembered: to look at, to search, to correct and to forget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from memory import Fact
from stevemin_chat.memory_entries import FactEntry
from stevemin_chat.memory_lookup import Place, explain, find
from stevemin_chat.screens.dialogs import EditLine
from stevemin_chat.screens.memory_actions import MemoryActions
from stevemin_chat.widgets.memory_list import MemoryList
from stevemin_chat.widgets.memory_states import MemoryStates

if TYPE_CHECKING:
    from stevemin_chat.chat import Chat
    from stevemin_chat.remembering import Remembering

__all__ = ["MemoryScreen"]

T = TypeVar("T")

_POLL = 0.5  # seconds
_TYPING = 0.2  # seconds without a key before a search begins
_KEYS = {
    "": "a adds a fact · / searches · esc closes",
    "fact": "enter why · e edit · p pin · f forget · a add · / search · esc closes",
    "hit": "enter why · f forget · a add a fact · / search · esc closes",
    "query": "enter or ↓ goes to the list · esc closes",
}


class MemoryScreen(MemoryActions, ModalScreen[Place | None]):
    """Switches, a search, and a list of facts or of what was found; the result is a message to go to."""

    CSS_PATH = "memory.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", show=False),
        Binding("slash", "search", "Search", show=False),
        Binding("down", "to_list", "To the list", show=False),
        Binding("a", "add", "Add a fact", show=False),
        Binding("e", "edit", "Edit", show=False),
        Binding("p", "pin", "Pin", show=False),
        Binding("f,delete", "forget", "Forget", show=False),
        Binding("o", "record", "Off the record", show=False),
        Binding("c", "scope", "Scope", show=False),
        Binding("x", "switch", "Remember or not", show=False),
    ]

    def __init__(self, remembering: Remembering, chat: Chat, *, query: str = "") -> None:
        super().__init__()
        self._remembering = remembering
        self._chat = chat
        self._query = query
        self._busy = ""  # what goes on that may take seconds

    def compose(self) -> ComposeResult:
        with Vertical(classes="memory"):
            yield Static("Memory", classes="title", markup=False)
            yield MemoryStates(id="states")
            yield Input(self._query, placeholder="Search all chats", id="query", compact=True)
            yield MemoryList(id="items")
            yield Static("", id="keys", classes="keys", markup=False)

    def on_mount(self) -> None:
        self._list.focus()
        self._poll = self.set_interval(_POLL, self._show_states)
        self._begin()

    @property
    def _list(self) -> MemoryList:
        return self.query_one(MemoryList)

    @property
    def _fact(self) -> Fact | None:
        """The chosen fact."""
        chosen = self._list.chosen
        return chosen.fact if isinstance(chosen, FactEntry) else None

    @work
    async def _begin(self) -> None:
        try:
            await self._remembering.look()
        except Exception as error:
            self.tell(error)
        await self._look()

    # what is shown

    def _show_states(self) -> None:
        self.query_one(MemoryStates).show(self._remembering, self._chat, self._busy)
        self.query_one("#keys", Static).update(_KEYS[self._kind()])

    def _kind(self) -> str:
        if isinstance(self.focused, Input):
            return "query"
        if self._list.chosen is None:
            return ""
        return "hit" if self._fact is None else "fact"

    def _working(self, what: str) -> None:
        self._busy = what
        self._show_states()

    async def _look(self) -> None:
        """Find and show again."""
        question = self.query_one(Input).value.strip()
        try:
            found = await asyncio.to_thread(find, self._remembering.memory, question)
        except Exception as error:
            self.tell(error)
            return
        self._list.show(found, question)
        self._show_states()

    @work(exclusive=True, group="find")
    async def _find(self, after: float) -> None:
        await asyncio.sleep(after)
        await self._look()

    @on(Input.Changed)
    def _typed(self) -> None:
        self._find(_TYPING)

    @on(Input.Submitted)
    def _asked(self) -> None:
        self._find(0)
        self._list.focus()

    @on(OptionList.OptionHighlighted)
    def _moved(self) -> None:
        self._show_states()

    def on_descendant_focus(self) -> None:
        self._show_states()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nothing while something is being taken out."""
        return not self._busy

    # what can be done

    def action_close(self) -> None:
        """Back to the chat."""
        self.dismiss(None)

    def action_search(self) -> None:
        """To the question."""
        self.query_one(Input).focus()

    def action_to_list(self) -> None:
        """From the question to what was found."""
        self._list.focus()

    @on(OptionList.OptionSelected)
    @work
    async def _why(self) -> None:
        item = self._list.chosen_id
        if item is None or self._busy:
            return
        wish = await self.show_origin(self._remembering, item, self._working)
        if isinstance(wish, Place):
            self.dismiss(wish)
        elif wish is not None:
            await self._look()

    @work
    async def action_add(self) -> None:
        """Write something into the profile."""
        text = await self.app.push_screen_wait(EditLine("Add to your profile", ""))
        if text and text.strip():
            await self.add_fact(self._remembering, text)
            await self._look()

    @work
    async def action_edit(self) -> None:
        """Other words for the chosen fact."""
        fact = self._fact
        if fact is None:
            return
        text = await self.app.push_screen_wait(EditLine("Edit this fact", fact.text))
        if text and text.strip():
            await self._change(self._remembering.memory.long_term.edit_fact, fact.id, text)

    @work
    async def action_pin(self) -> None:
        """Into every prompt, or no longer."""
        fact = self._fact
        if fact is not None:
            await self._change(self._remembering.memory.long_term.pin_fact, fact.id, not fact.pinned)

    @work
    async def action_forget(self) -> None:
        """The chosen fact, or the chosen message with all that was made of it."""
        item = self._list.chosen_id
        if item is None:
            return
        try:
            found = await asyncio.to_thread(explain, self._remembering.memory, item)
        except Exception as error:
            self.tell(error)
        else:
            await self.forget(self._remembering, found, self._working)
        await self._look()

    @work
    async def action_record(self) -> None:
        """This chat off the record, or on it again."""
        await self.set_record(self._remembering, self._chat, not self._chat.off_record, self._working)
        await self._look()

    @work
    async def action_scope(self) -> None:
        """Choose how far this chat's memory reaches."""
        await self.set_scope(self._remembering, self._chat, None)
        self._show_states()

    @work
    async def action_switch(self) -> None:
        """Remember everywhere or nowhere."""
        await self.switch_remembering(self._remembering, not self._remembering.on)
        self._show_states()

    async def _change(self, change: Callable[[int, T], Fact], fact_id: int, value: T) -> None:
        try:
            await asyncio.to_thread(change, fact_id, value)
        except Exception as error:
            self.tell(error)
        await self._look()
