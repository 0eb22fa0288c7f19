"""What a person does with long-term memory and a chat's context, from the chat and from the memory screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from memory import STRATEGIES, Fact
from stevemin_chat.recall import (
    SCOPE_WORDS,
    Explanation,
    Place,
    explain,
    facts_of,
    forget_question,
    forgotten_words,
    last_exchange,
    off_record_question,
    read_account,
)
from stevemin_chat.text import one_line
from stevemin_chat.tui.screens.context import ContextScreen
from stevemin_chat.tui.screens.dialogs import Choice, Choose, Confirm, EditLine
from stevemin_chat.tui.screens.origin import OriginScreen

if TYPE_CHECKING:
    from memory import Scope
    from stevemin_chat.chats import Chat
    from stevemin_chat.recall import Remembering
    from stevemin_chat.tui.view import Dialogue

__all__ = ["MemoryActions", "Working"]

Working = Callable[[str], None]
"""Shows what takes seconds; empty when it is done."""

_SWITCH_OFF = (
    "Stop remembering in all chats? What is remembered stays, but no answer uses it,"
    " and what is said meanwhile is never added."
)


class MemoryActions:
    """Asks before anything is lost, and shows what went wrong. Only inside `Dialogue.run`.

    Args:
        usual_strategy: the settings' context strategy.
    """

    def __init__(self, remembering: Remembering, dialogue: Dialogue, *, usual_strategy: str) -> None:
        self.remembering = remembering
        self._dialogue = dialogue
        self._usual_strategy = usual_strategy

    def tell(self, error: BaseException) -> None:
        """Show an error in words."""
        self._dialogue.tell(error)

    # the report of a prompt

    async def show_context(self, chat: Chat) -> Place | Literal["strategy"] | None:
        """Show the report of a chat's last prompt; returns what the person wants next."""
        account = None
        try:
            if chat.report is not None:
                account = await asyncio.to_thread(read_account, self.remembering.memory, chat.report)
        except Exception as error:
            self._dialogue.tell(error)
        return await self._dialogue.ask(
            ContextScreen(
                account,
                title=chat.title or "New chat",
                strategy=chat.strategy or self._usual_strategy,
                show_origin=self.show_origin,
            )
        )

    async def choose_strategy(self, chat: Chat) -> str | None:
        """Ask for a context strategy."""
        rows = [
            Choice(name, name, strategy.summary, mark="default" if name == self._usual_strategy else "")
            for name, strategy in STRATEGIES.items()
        ]
        now = chat.strategy or self._usual_strategy
        return await self._dialogue.ask(Choose("Context strategy of this chat", rows, chosen=now))

    # forgetting

    async def show_origin(self, item_id: str, working: Working) -> Place | Literal["forgotten"] | None:
        """Show where a fact or a message comes from.

        Returns:
            The message that the person wants to open; whether the source was forgotten.
        """
        try:
            found = await asyncio.to_thread(explain, self.remembering.memory, item_id)
            wish = await self._dialogue.ask(OriginScreen(found))
            if wish != "forget" or found.origin.message is None:
                return wish if isinstance(wish, Place) else None
            source = await asyncio.to_thread(explain, self.remembering.memory, found.origin.message.id)
        except Exception as error:
            self._dialogue.tell(error)
            return None
        return "forgotten" if await self._forget(source, working) else None

    async def forget_last(self, chat: Chat, working: Working) -> None:
        """Forget the last exchange of a chat."""
        found = None
        try:
            if chat.record is not None:
                found = await asyncio.to_thread(last_exchange, self.remembering.memory, chat.record.id)
        except Exception as error:
            self._dialogue.tell(error)
            return
        if found is None:
            self._dialogue.say("There is nothing to forget in this chat.")
        else:
            await self._forget(found, working)

    async def forget_item(self, item_id: str, working: Working) -> None:
        """Forget a fact, or a message with everything derived from it."""
        try:
            found = await asyncio.to_thread(explain, self.remembering.memory, item_id)
        except Exception as error:
            self._dialogue.tell(error)
        else:
            await self._forget(found, working)

    async def _forget(self, explanation: Explanation, working: Working) -> bool:
        item = explanation.origin.item
        if not await self._dialogue.ask(Confirm(forget_question(explanation), "Forget")):
            return False
        working("forgetting …")
        try:
            if isinstance(item, Fact):
                await asyncio.to_thread(self.remembering.memory.long_term.forget_fact, item.id)
                self._dialogue.say("Forgotten: 1 fact.")
            else:
                gone = await self.remembering.forget([item.id])
                self._dialogue.say(forgotten_words(gone, erased=await self.remembering.erased()))
        except Exception as error:
            self._dialogue.tell(error)
            return False
        finally:
            working("")
        return True

    # the profile

    async def add_fact(self, text: str = "") -> None:
        """Add a fact to the profile; without text, ask for it."""
        wanted: str | None = text
        if not wanted:
            wanted = await self._dialogue.ask(EditLine("Add to your profile", ""))
        if not wanted or not wanted.strip():
            return
        fact = await self._stored(self.remembering.memory.long_term.add_fact, " ".join(wanted.split()))
        if fact is not None:
            self._dialogue.say(f"In your profile: {one_line(fact.text)}")

    async def edit_fact(self, fact: Fact) -> None:
        """Ask for a new wording of a fact."""
        text = await self._dialogue.ask(EditLine("Edit this fact", fact.text))
        if text and text.strip():
            await self._stored(self.remembering.memory.long_term.edit_fact, fact.id, text)

    async def pin_fact(self, fact: Fact) -> None:
        """Put a fact into every prompt, or stop doing so."""
        await self._stored(self.remembering.memory.long_term.pin_fact, fact.id, not fact.pinned)

    async def _stored(self, change: Callable[..., Fact], *args: Any) -> Fact | None:
        try:
            return await asyncio.to_thread(change, *args)
        except Exception as error:
            self._dialogue.tell(error)
            return None

    # what is remembered

    async def set_off_record(self, chat: Chat, off: bool, working: Working) -> None:
        """Take a chat off the record, asking first if facts would be lost; or put it on the record again."""
        if chat.off_record is off:
            self._dialogue.say(f"This chat is {'off' if off else 'on'} the record already.")
            return
        try:
            facts = await self._facts_of(chat) if off else 0
            if facts and not await self._dialogue.ask(Confirm(off_record_question(facts), "Delete")):
                return
            working("deleting this chat's memories …" if off else "remembering this chat …")
            await self.remembering.set_off_record(chat, off)
        except Exception as error:
            self._dialogue.tell(error)
            return
        finally:
            working("")
        self._dialogue.say(
            "Off the record: nothing from this chat is remembered."
            if off
            else "On the record: what is said in this chat is remembered."
        )

    async def set_scope(self, chat: Chat, scope: str = "") -> None:
        """Set how far a chat's memory reaches; without a scope, ask."""
        name: str | None = scope.lower()
        if name and name not in SCOPE_WORDS:
            self._dialogue.say(f"There is no scope {scope}. Known: {', '.join(SCOPE_WORDS)}.", warn=True)
            return
        if not name:
            rows = [Choice(value, *words) for value, words in SCOPE_WORDS.items()]
            now = chat.scope or self.remembering.usual_scope
            name = await self._dialogue.ask(Choose("How far this chat's memory reaches", rows, chosen=now))
        chosen = next((value for value in SCOPE_WORDS if value == name), None)
        if chosen is not None:
            await self._reach(chat, chosen)

    async def _reach(self, chat: Chat, scope: Scope) -> None:
        try:
            await self.remembering.set_scope(chat, scope)
        except Exception as error:
            self._dialogue.tell(error)
            return
        name, meaning = SCOPE_WORDS[scope]
        if scope == "project" and chat.record is not None and chat.record.project is None:
            meaning = "but this chat belongs to no folder, so that is this chat alone"
        self._dialogue.say(f"Memory reaches {name}: {meaning}.")

    async def switch_remembering(self, on: bool) -> None:
        """Remember everywhere or nowhere; asks before switching off."""
        if self.remembering.off_by_settings:
            self._dialogue.say(
                "Long-term memory is switched off in the settings file: [memory] enabled.", warn=True
            )
            return
        if not on and not await self._dialogue.ask(Confirm(_SWITCH_OFF, "Switch off")):
            return
        try:
            await self.remembering.switch(on)
        except Exception as error:
            self._dialogue.tell(error)
            return
        self._dialogue.say("Remembering is on again." if on else "Remembering is off in all chats.")

    async def _facts_of(self, chat: Chat) -> int:
        if chat.record is None:
            return 0
        return await asyncio.to_thread(facts_of, self.remembering.memory, chat.record.id)
