"""Commands about the model and what it is told: model, cancel, system."""

from __future__ import annotations

import asyncio

from textual import work

from stevemin_chat.tui.commanding import Commanding
from stevemin_chat.tui.screens.dialogs import Choose, Confirm, EditText
from stevemin_chat.tui.screens.models import model_choices

__all__ = ["ModelCommands"]


class ModelCommands(Commanding):
    """Mixed into the chat screen."""

    @work
    async def command_model(self, args: str) -> None:
        screen = self._screen
        name: str | None = args
        if not name:
            choices = await asyncio.to_thread(model_choices, screen.runtime)
            name = await screen.app.push_screen_wait(
                Choose(
                    "Models on this machine, and those that can be pulled",
                    choices,
                    chosen=screen.runtime.model_name,
                )
            )
        if not name:
            return
        try:  # before anyone is asked to give up an answer for it
            await asyncio.to_thread(screen.runtime.catalogue.resolve, name, screen.runtime.paths.models_dir)
        except Exception as error:
            screen.tell(error)
            return
        if await self._may_stop_answers():
            screen.load_model(name)

    async def _may_stop_answers(self) -> bool:
        busy = len(self._screen.chats.busy)
        if not busy:
            return True
        what = "The answer being written stops" if busy == 1 else f"The {busy} answers being written stop"
        return await self._screen.app.push_screen_wait(
            Confirm(f"{what}; the text so far stays. Go on?", "Load")
        )

    @work
    async def command_cancel(self, args: str) -> None:
        if not await self._screen.loader.cancel():
            self._screen.say("No model is being loaded.")

    @work
    async def command_system(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        if chat is None:
            return
        text: str | None = args
        if not text:
            own = chat.system_prompt
            now = own if own is not None else screen.runtime.config.system_prompt or ""
            text = await screen.app.push_screen_wait(EditText("System prompt of this chat", now))
        if text is not None:
            done = "System prompt set" if text.strip() else "System prompt removed"
            await self.configure(chat, "system_prompt", text.strip(), f"{done}, from the next answer on.")
