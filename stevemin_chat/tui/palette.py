"""The command palette: the table of actions, and the chats by title."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from stevemin_chat.text import one_line
from stevemin_chat.tui.actions import COMMANDS
from stevemin_chat.tui.chat_screen import ChatScreen

__all__ = ["PaletteCommands"]


class PaletteCommands(Provider):
    """Feeds Textual's command palette."""

    async def discover(self) -> Hits:
        """Every command."""
        for command in COMMANDS:
            yield DiscoveryHit(command.title, self._run(command.name), help=command.help)

    async def search(self, query: str) -> Hits:
        """Commands by title or slash, and chats by title."""
        matcher = self.matcher(query)
        for command in COMMANDS:
            score = max(matcher.match(command.title), matcher.match(f"/{command.name}"))
            if score > 0:
                yield Hit(score, matcher.highlight(command.title), self._run(command.name), help=command.help)
        screen = self._chat_screen
        for chat in screen.controller.chats.all if screen.attached else ():
            title = one_line(chat.title)
            if title and (score := matcher.match(title)) > 0:
                # Content, because a title could be read as markup.
                switch = partial(screen.controller.switch, chat)
                yield Hit(score, Content(title), switch, text=title, help="Open this chat.")

    @property
    def _chat_screen(self) -> ChatScreen:
        assert isinstance(self.screen, ChatScreen)  # there is no palette over another screen
        return self.screen

    def _run(self, name: str) -> Callable[[], None]:
        return partial(self._chat_screen.action_command, name)
