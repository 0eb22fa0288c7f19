"""What changes how a chat is remembered, as the memory screen and the slash command offer it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stevemin_chat.recall import SCOPE_WORDS, facts_of, off_record_question
from stevemin_chat.text import one_line
from stevemin_chat.tui.screens.dialogs import Choice, Choose, Confirm
from stevemin_chat.tui.screens.forgetting import Forgetting, Working

if TYPE_CHECKING:
    from memory import Scope
    from stevemin_chat.chats import Chat
    from stevemin_chat.recall import Remembering

__all__ = ["MemoryActions"]

_SWITCH_OFF = (
    "Remember nothing from now on, in any chat? What is remembered stays, but no answer draws on it,"
    " and what is said meanwhile never enters."
)


class MemoryActions(Forgetting):
    """Mixed into screens; the methods are for workers and tell what went wrong."""

    async def set_record(self, remembering: Remembering, chat: Chat, off: bool, working: Working) -> None:
        """Take a chat off the record, asking first where facts would go; or let it in again."""
        if chat.off_record is off:
            self.say(f"This chat is {'off' if off else 'on'} the record already.")
            return
        try:
            facts = await self._facts_of(remembering, chat) if off else 0
            if facts and not await self._app.push_screen_wait(
                Confirm(off_record_question(facts), "Take out")
            ):
                return
            working("taking this chat out of memory …" if off else "remembering this chat …")
            await remembering.set_off_record(chat, off)
        except Exception as error:
            self.tell(error)
            return
        finally:
            working("")
        self.say(
            "Off the record: nothing of this chat enters long-term memory."
            if off
            else "On the record: what is said in this chat is remembered."
        )

    async def set_scope(self, remembering: Remembering, chat: Chat, scope: Scope | None) -> None:
        """How far a chat's memory reaches; None asks."""
        name: str | None = scope
        if scope is None:
            rows = [Choice(value, *words) for value, words in SCOPE_WORDS.items()]
            now = chat.scope or remembering.usual_scope
            name = await self._app.push_screen_wait(
                Choose("How far this chat's memory reaches", rows, chosen=now)
            )
        chosen = next((value for value in SCOPE_WORDS if value == name), None)
        if chosen is None:
            return
        try:
            await remembering.set_scope(chat, chosen)
        except Exception as error:
            self.tell(error)
            return
        name, meaning = SCOPE_WORDS[chosen]
        if chosen == "project" and chat.record is not None and chat.record.project is None:
            meaning = "but this chat belongs to no folder, so that is this chat alone"
        self.say(f"Memory reaches {name}: {meaning}.")

    async def switch_remembering(self, remembering: Remembering, on: bool) -> None:
        """Remember everywhere or nowhere; asks before it is switched off."""
        if remembering.off_by_settings:
            self.say("The settings file turns long-term memory off: [memory] enabled.", warn=True)
            return
        if not on and not await self._app.push_screen_wait(Confirm(_SWITCH_OFF, "Switch off")):
            return
        try:
            await remembering.switch(on)
        except Exception as error:
            self.tell(error)
            return
        self.say("Remembering is on again." if on else "Remembering is off, in every chat.")

    async def add_fact(self, remembering: Remembering, text: str) -> None:
        """Write something into the profile."""
        try:
            fact = await asyncio.to_thread(remembering.memory.long_term.add_fact, text)
        except Exception as error:
            self.tell(error)
            return
        self.say(f"In your profile: {one_line(fact.text)}")

    async def _facts_of(self, remembering: Remembering, chat: Chat) -> int:
        if chat.record is None:
            return 0
        return await asyncio.to_thread(facts_of, remembering.memory, chat.record.id)
