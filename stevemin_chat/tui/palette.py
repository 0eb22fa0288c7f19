"""The command palette: the table of actions, and the chats by title."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from stevemin_chat.tui.actions import COMMANDS

if TYPE_CHECKING:
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
        screen = cast("ChatScreen", self.screen)
        for chat in screen.chats.all:
            if chat.title and (score := matcher.match(chat.title)) > 0:
                # Content, because a title could be read as markup.
                yield Hit(
                    score,
                    Content(chat.title),
                    lambda chat=chat: screen.switch(chat),
                    text=chat.title,
                    help="open this chat",
                )

    def _run(self, name: str):  # type: ignore[no-untyped-def]
        return lambda: cast("ChatScreen", self.screen).action_command(name)
