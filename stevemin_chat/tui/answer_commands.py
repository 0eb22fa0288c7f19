"""Commands about answers: stop, again, queue, copy."""

from __future__ import annotations

import asyncio
import re

from textual import work

from stevemin_chat.tui.clipboard import copy_natively
from stevemin_chat.tui.commanding import Commanding

__all__ = ["AnswerCommands"]

_FENCE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1", re.DOTALL | re.MULTILINE)


class AnswerCommands(Commanding):
    """Mixed into the chat screen."""

    def command_stop(self, args: str) -> None:
        screen = self._screen
        if screen.focused is not screen.prompt:
            screen.prompt.focus()
        elif screen.chat is not None:
            screen.chats.answers.stop(screen.chat)

    def command_regenerate(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        if chat is None or screen.chats.answers.regenerate(chat):
            return
        if chat.busy:
            screen.say("An answer is being written; esc stops it.", warn=True)
        elif not screen.chats.answers.ready:
            screen.say("There is no model yet.", warn=True)
        else:
            screen.say("There is nothing to answer yet.", warn=True)

    def command_unqueue(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        texts: list[str] = []
        while chat is not None and (text := screen.chats.answers.take_back(chat)) is not None:
            texts.insert(0, text)
        if texts:
            screen.prompt.give_back("\n".join(texts))
        else:
            screen.say("Nothing is queued.")

    def command_copy(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        replies = [e.text for e in (chat.entries or []) if e.role == "assistant" and e.text] if chat else []
        if not replies:
            screen.say("There is no answer to copy.", warn=True)
        elif not args:
            self.copy(replies[-1])
        elif args.lower() != "code":
            screen.say("/copy takes nothing, or the word code.", warn=True)
        elif blocks := _FENCE.findall(replies[-1]):
            self.copy(blocks[-1][1])
        else:
            screen.say("There is no code block in the last answer.", warn=True)

    @work
    async def copy(self, text: str) -> None:
        """Put a text on the clipboard."""
        if not await asyncio.to_thread(copy_natively, text):
            self._screen.app.copy_to_clipboard(text)  # the terminal may ignore it, and does not say so
        self._screen.say(f"{len(text):,} characters copied.")

    def command_end(self, args: str) -> None:
        self._screen.transcript.follow()
