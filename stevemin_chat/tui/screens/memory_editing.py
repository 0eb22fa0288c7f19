"""What the memory screen changes: facts, what is forgotten, how this chat is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from textual import work

from stevemin_chat.recall import explain
from stevemin_chat.tui.screens.dialogs import EditLine
from stevemin_chat.tui.screens.memory_actions import MemoryActions

if TYPE_CHECKING:
    from memory import Fact
    from stevemin_chat.tui.screens.memory import MemoryScreen

__all__ = ["MemoryEditing"]

T = TypeVar("T")


class MemoryEditing(MemoryActions):
    """Mixed into the memory screen."""

    @property
    def _screen(self) -> MemoryScreen:
        return cast("MemoryScreen", self)

    @work
    async def action_add(self) -> None:
        """Write something into the profile."""
        screen = self._screen
        text = await screen.app.push_screen_wait(EditLine("Add to your profile", ""))
        if text and text.strip():
            await self.add_fact(screen.remembering, text)
            await screen.look()

    @work
    async def action_edit(self) -> None:
        """Other words for the chosen fact."""
        screen = self._screen
        fact = screen.fact
        if fact is None:
            return
        text = await screen.app.push_screen_wait(EditLine("Edit this fact", fact.text))
        if text and text.strip():
            await self._change(screen.remembering.memory.long_term.edit_fact, fact.id, text)

    @work
    async def action_pin(self) -> None:
        """Into every prompt, or no longer."""
        screen = self._screen
        fact = screen.fact
        if fact is not None:
            await self._change(screen.remembering.memory.long_term.pin_fact, fact.id, not fact.pinned)

    @work
    async def action_forget(self) -> None:
        """The chosen fact, or the chosen message with all that was made of it."""
        screen = self._screen
        item = screen.items.chosen_id
        if item is None:
            return
        try:
            found = await asyncio.to_thread(explain, screen.remembering.memory, item)
        except Exception as error:
            self.tell(error)
        else:
            await self.forget(screen.remembering, found, screen.working)
        await screen.look()

    @work
    async def action_record(self) -> None:
        """This chat off the record, or on it again."""
        screen = self._screen
        await self.set_record(screen.remembering, screen.chat, not screen.chat.off_record, screen.working)
        await screen.look()

    @work
    async def action_scope(self) -> None:
        """Choose how far this chat's memory reaches."""
        screen = self._screen
        await self.set_scope(screen.remembering, screen.chat, None)
        screen.show_states()

    @work
    async def action_switch(self) -> None:
        """Remember everywhere or nowhere."""
        screen = self._screen
        await self.switch_remembering(screen.remembering, not screen.remembering.on)
        screen.show_states()

    async def _change(self, change: Callable[[int, T], Fact], fact_id: int, value: T) -> None:
        try:
            await asyncio.to_thread(change, fact_id, value)
        except Exception as error:
            self.tell(error)
        await self._screen.look()
