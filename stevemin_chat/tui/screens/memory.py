"""The memory screen: list, search, correct and forget what is remembered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from memory import Fact
from stevemin_chat.recall import FactEntry, Found, Place, find, follow
from stevemin_chat.tui.widgets.memory_list import MemoryList, MemoryStates

if TYPE_CHECKING:
    from stevemin_chat.chats import Chat
    from stevemin_chat.tui.memory_actions import MemoryActions

__all__ = ["MemoryScreen"]

_POLL = 0.5  # seconds
_TYPING = 0.2  # seconds without a key before a search begins
_KEYS = {
    "": "a adds a fact · / searches · esc closes",
    "fact": "enter why · e edit · p pin · f forget · a add · / search · esc closes",
    "named": "enter why · n names · e edit · p pin · f forget · a add · / search · esc",
    "followed": "enter why · n names · e edit · p pin · f forget · esc goes back",
    "hit": "enter why · f forget · a add a fact · / search · esc closes",
    "query": "enter or ↓ goes to the list · esc closes",
}


class MemoryScreen(ModalScreen[Place | None]):
    """Switches, a search, and a list of facts or hits; the result is a message to open in its chat.

    Args:
        chat: the visible one, which the switches apply to.
        query: what to search for first.
    """

    CSS_PATH = "memory.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", show=False),
        Binding("slash", "search", "Search", show=False),
        Binding("down", "to_list", "To the list", show=False),
        Binding("a", "add", "Add a fact", show=False),
        Binding("e", "edit", "Edit", show=False),
        Binding("p", "pin", "Pin", show=False),
        Binding("n", "follow", "What it names", show=False),
        Binding("f,delete", "forget", "Forget", show=False),
        Binding("o", "record", "Off the record", show=False),
        Binding("c", "scope", "Scope", show=False),
        Binding("x", "switch", "Remember or not", show=False),
    ]

    def __init__(self, actions: MemoryActions, chat: Chat, *, query: str = "") -> None:
        super().__init__()
        self._actions = actions
        self._remembering = actions.remembering
        self._chat = chat
        self._query = query
        self._trail: list[int] = []  # facts whose links were followed, to go back
        self._busy = ""  # the action under way, which may take seconds

    def compose(self) -> ComposeResult:
        with Vertical(classes="memory"):
            yield Static("Memory", classes="title", markup=False)
            yield MemoryStates(id="states")
            yield Input(self._query, placeholder="Search all chats", id="query", compact=True)
            yield MemoryList(id="items")
            yield Static("", id="keys", classes="keys", markup=False)

    def on_mount(self) -> None:
        self.items.focus()
        self.set_interval(_POLL, self.show_states)
        self._begin()

    @property
    def items(self) -> MemoryList:
        """The list."""
        return self.query_one(MemoryList)

    @property
    def fact(self) -> Fact | None:
        """The chosen fact."""
        chosen = self.items.chosen
        return chosen.fact if isinstance(chosen, FactEntry) else None

    @work
    async def _begin(self) -> None:
        try:
            await self._remembering.look()
        except Exception as error:
            self._actions.tell(error)
        await self.look()

    # what is shown

    def show_states(self) -> None:
        """Draw switches, progress and keys again."""
        self.query_one(MemoryStates).show(self._remembering, self._chat, self._busy)
        self.query_one("#keys", Static).update(_KEYS[self._kind()])

    def _kind(self) -> str:
        if isinstance(self.focused, Input):
            return "query"
        if self.items.chosen is None:
            return ""
        if self.fact is None:
            return "hit"
        return "followed" if self._trail else "named" if self.fact.entities else "fact"

    def working(self, what: str) -> None:
        """Show the action under way; empty when it is done."""
        self._busy = what
        self.show_states()

    async def look(self) -> None:
        """Search and list again."""
        question = self.query_one(Input).value.strip()
        try:
            found = await asyncio.to_thread(self._read, question)
        except Exception as error:
            self._actions.tell(error)
            return
        self.items.show(found, question)
        self.show_states()

    def _read(self, question: str) -> Found:
        """Blocks. The links of the fact that was followed last; else what the question finds."""
        memory = self._remembering.memory
        while self._trail:
            if (found := follow(memory, self._trail[-1])) is not None:
                return found
            self._trail.pop()  # forgotten meanwhile
        return find(memory, question)

    @work(exclusive=True, group="find")
    async def _find(self, after: float) -> None:
        await asyncio.sleep(after)
        await self.look()

    @on(Input.Changed)
    def _typed(self) -> None:
        self._trail.clear()
        self._find(_TYPING)

    @on(Input.Submitted)
    def _asked(self) -> None:
        self._find(0)
        self.items.focus()

    @on(OptionList.OptionHighlighted)
    def _moved(self) -> None:
        self.show_states()

    def on_descendant_focus(self) -> None:
        self.show_states()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """No action while another one is under way."""
        return not self._busy

    # moving

    @work
    async def action_close(self) -> None:
        """Back to the fact whose links were followed, else to the chat."""
        if not self._trail:
            self.dismiss(None)
            return
        left = self._trail.pop()
        await self.look()
        self.items.choose(left)

    @work
    async def action_follow(self) -> None:
        """Show whom and what the chosen fact names, and the other facts that name the same."""
        if self.fact is None or not self.fact.entities or self._trail[-1:] == [self.fact.id]:
            return
        self._trail.append(self.fact.id)
        await self.look()
        self.items.choose(self._trail[-1])

    def action_search(self) -> None:
        """Move to the search field."""
        self.query_one(Input).focus()

    def action_to_list(self) -> None:
        """Move from the search field to the list."""
        self.items.focus()

    @on(OptionList.OptionSelected)
    @work
    async def _why(self) -> None:
        item = self.items.chosen_id
        if item is None or self._busy:
            return
        wish = await self._actions.show_origin(item, self.working)
        if isinstance(wish, Place):
            self.dismiss(wish)
        elif wish is not None:
            await self.look()

    # changing what is remembered

    @work
    async def action_add(self) -> None:
        """Add a fact to the profile."""
        await self._actions.add_fact()
        await self.look()

    @work
    async def action_edit(self) -> None:
        """Reword the chosen fact."""
        if self.fact is not None:
            await self._actions.edit_fact(self.fact)
            await self.look()

    @work
    async def action_pin(self) -> None:
        """Put the chosen fact into every prompt, or stop doing so."""
        if self.fact is not None:
            await self._actions.pin_fact(self.fact)
            await self.look()

    @work
    async def action_forget(self) -> None:
        """Forget the chosen fact, or the chosen message with everything derived from it."""
        if (item := self.items.chosen_id) is not None:
            await self._actions.forget_item(item, self.working)
            await self.look()

    @work
    async def action_record(self) -> None:
        """Take this chat off the record, or put it on the record again."""
        await self._actions.set_off_record(self._chat, not self._chat.off_record, self.working)
        await self.look()

    @work
    async def action_scope(self) -> None:
        """Choose how far this chat's memory reaches."""
        await self._actions.set_scope(self._chat)
        self.show_states()

    @work
    async def action_switch(self) -> None:
        """Remember everywhere or nowhere."""
        await self._actions.switch_remembering(not self._remembering.on)
        self.show_states()
