"""Looking behind something remembered and forgetting it, as several screens offer both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, cast

from memory import Fact
from stevemin_chat.recall import Explanation, Place, explain, forget_question, forgotten_words
from stevemin_chat.tui.screens.dialogs import Confirm
from stevemin_chat.tui.screens.origin import OriginScreen
from stevemin_chat.tui.telling import Telling

if TYPE_CHECKING:
    from textual.app import App
    from textual.screen import Screen

    from stevemin_chat.recall import Remembering

__all__ = ["Forgetting", "Working"]

Working = Callable[[str], None]  # told what goes on, which may take seconds, and then ""


class Forgetting(Telling):
    """Mixed into screens; the methods are for workers."""

    @property
    def _app(self) -> App[Any]:
        return cast("Screen[Any]", self).app

    async def show_origin(
        self, remembering: Remembering, item_id: str, working: Working
    ) -> Place | Literal["forgotten"] | None:
        """Show where a fact or a message comes from.

        Returns:
            Where the person wants to go; whether its source was forgotten.
        """
        try:
            found = await asyncio.to_thread(explain, remembering.memory, item_id)
            wish = await self._app.push_screen_wait(OriginScreen(found))
            if wish != "forget" or found.origin.message is None:
                return wish if isinstance(wish, Place) else None
            source = await asyncio.to_thread(explain, remembering.memory, found.origin.message.id)
        except Exception as error:
            self.tell(error)
            return None
        return "forgotten" if await self.forget(remembering, source, working) else None

    async def forget(self, remembering: Remembering, explanation: Explanation, working: Working) -> bool:
        """Forget a fact, or a message with all that was made of it; False when it stays."""
        item = explanation.origin.item
        if not await self._app.push_screen_wait(Confirm(forget_question(explanation), "Forget")):
            return False
        working("forgetting …")
        try:
            if isinstance(item, Fact):
                await asyncio.to_thread(remembering.memory.long_term.forget_fact, item.id)
                self.say("Forgotten: 1 fact.")
            else:
                self.say(forgotten_words(await remembering.forget([item.id])))
        except Exception as error:
            self.tell(error)
            return False
        finally:
            working("")
        return True
