"""Commands about what is remembered: context, memory."""

from __future__ import annotations

import asyncio
import difflib
from typing import TYPE_CHECKING

from textual import work

from memory import STRATEGIES
from stevemin_chat.recall import SCOPE_WORDS, Place, last_exchange, read_account
from stevemin_chat.tui.actions import find
from stevemin_chat.tui.commanding import Commanding
from stevemin_chat.tui.screens.context import ContextScreen
from stevemin_chat.tui.screens.dialogs import Choice, Choose
from stevemin_chat.tui.screens.memory import MemoryScreen
from stevemin_chat.tui.screens.memory_actions import MemoryActions

if TYPE_CHECKING:
    from stevemin_chat.chats import Chat

__all__ = ["MemoryCommands"]


class MemoryCommands(Commanding, MemoryActions):
    """Mixed into the chat screen."""

    @work
    async def command_context(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        if chat is None:
            return
        if args:
            await self._use_strategy(chat, args)
            return
        wish = await screen.app.push_screen_wait(await self._context_of(chat))
        if isinstance(wish, Place):
            screen.go_to(wish)
        elif wish == "strategy" and (name := await self._choose_strategy()):
            await self._use_strategy(chat, name)

    async def _context_of(self, chat: Chat) -> ContextScreen:
        screen, report = self._screen, chat.report
        account = None
        try:
            if report is not None:
                account = await asyncio.to_thread(read_account, screen.runtime.memory, report)
        except Exception as error:
            screen.tell(error)
        return ContextScreen(
            account,
            title=chat.title or "New chat",
            strategy=screen.strategy(),
            remembering=screen.remembering,
        )

    async def _choose_strategy(self) -> str | None:
        screen, usual = self._screen, self._screen.runtime.config.strategy
        rows = [
            Choice(name, name, strategy.summary, mark="as in the settings" if name == usual else "")
            for name, strategy in STRATEGIES.items()
        ]
        title = "Context strategy of this chat"
        return await screen.app.push_screen_wait(Choose(title, rows, chosen=screen.strategy()))

    async def _use_strategy(self, chat: Chat, name: str) -> None:
        await self.configure(chat, "strategy", name, f"Context strategy: {name}, from the next answer on.")

    def command_memory(self, args: str) -> None:
        chat = self._screen.chat
        if chat is None:
            return
        word, _, rest = args.partition(" ")
        command = find("memory")
        assert command is not None
        known = {below.name: below for below in command.below}
        below = known.get(word.lower())
        if not word:
            self._open_memory(chat, "")
        elif below is None:
            near = difflib.get_close_matches(word.lower(), known, n=1)
            hint = f"Did you mean /memory {near[0]}?" if near else f"Known: {', '.join(known)}."
            self._screen.say(f"There is no /memory {word}. {hint}", warn=True)
        elif rest.strip() and not below.args:
            self._screen.say(f"/memory {below.name} takes nothing after it.", warn=True)
        else:
            getattr(self, f"memory_{below.name}")(chat, rest.strip())

    def memory_search(self, chat: Chat, rest: str) -> None:
        self._open_memory(chat, rest)

    @work
    async def memory_forget(self, chat: Chat, rest: str) -> None:
        screen = self._screen
        session_id = chat.record.id if chat.record is not None else None
        try:
            memory = screen.runtime.memory
            found = await asyncio.to_thread(last_exchange, memory, session_id) if session_id else None
        except Exception as error:
            screen.tell(error)
            return
        if found is None:
            screen.say("There is nothing to forget in this chat.")
        else:
            await self.forget(screen.remembering, found, screen.note)

    @work
    async def memory_off(self, chat: Chat, rest: str) -> None:
        await self.set_record(self._screen.remembering, chat, True, self._screen.note)

    @work
    async def memory_on(self, chat: Chat, rest: str) -> None:
        await self.set_record(self._screen.remembering, chat, False, self._screen.note)

    @work
    async def memory_scope(self, chat: Chat, rest: str) -> None:
        scope = next((value for value in SCOPE_WORDS if value == rest.lower()), None)
        if rest and scope is None:
            self._screen.say(f"There is no scope {rest}. Known: {', '.join(SCOPE_WORDS)}.", warn=True)
        else:
            await self.set_scope(self._screen.remembering, chat, scope)

    @work
    async def memory_add(self, chat: Chat, rest: str) -> None:
        if rest:
            await self.add_fact(self._screen.remembering, rest)
        else:
            self._screen.say("/memory add wants a text.", warn=True)

    @work
    async def _open_memory(self, chat: Chat, query: str) -> None:
        screen = self._screen
        place = await screen.app.push_screen_wait(MemoryScreen(screen.remembering, chat, query=query))
        if place is not None:
            screen.go_to(place)
