"""How the commands of the table reach their handlers, `command_NAME(args)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from stevemin_chat.tui.actions import Command, find

if TYPE_CHECKING:
    from stevemin_chat.chats import Chat
    from stevemin_chat.tui.chat_screen import ChatScreen

__all__ = ["Commanding"]


class Commanding:
    """Base of what is mixed into the chat screen."""

    @property
    def _screen(self) -> ChatScreen:
        return cast("ChatScreen", self)

    def action_command(self, name: str) -> None:
        """Run a command by key or from the palette."""
        command = find(name)
        if command is not None:
            self.run_command(command, "")

    def run_command(self, command: Command, args: str) -> None:
        """Run a command of the table."""
        if args and not command.args:
            self._screen.say(f"/{command.name} takes nothing after it.", warn=True)
            return
        getattr(self, f"command_{command.name}")(args)

    async def configure(self, chat: Chat, setting: str, value: str, done: str) -> None:
        """Change something of a chat, and say so."""
        try:
            await self._screen.chats.configure(chat, **{setting: value})
        except Exception as error:
            self._screen.tell(error)
        else:
            self._screen.say(done)
            self._screen.poll()
