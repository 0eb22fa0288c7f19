"""Commands about chats: new, rename, delete, and going from one to another."""

from __future__ import annotations

import difflib

from textual import work

from stevemin_chat.tui.commanding import Commanding
from stevemin_chat.tui.screens.dialogs import Confirm, EditLine

__all__ = ["ChatCommands"]


class ChatCommands(Commanding):
    """Mixed into the chat screen."""

    def command_new(self, args: str) -> None:
        screen = self._screen
        if screen.chat is not None:
            screen.chat.draft = screen.prompt.text  # else the chat looks blank, and is used again
        screen.switch(screen.chats.new(args))
        screen.prompt.focus()

    @work
    async def command_rename(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        if chat is None:
            return
        title = args or await screen.app.push_screen_wait(EditLine("Rename chat", chat.title))
        if title and title.strip():
            try:
                await screen.chats.rename(chat, title)
            except Exception as error:
                screen.tell(error)

    @work
    async def command_delete(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        if chat is None or chat.blank:
            return
        question = f"Delete “{chat.title or 'New chat'}” and all its messages?"
        if not await screen.app.push_screen_wait(Confirm(question, "Delete")):
            return
        place = screen.chats.all.index(chat)
        try:
            await screen.chats.delete(chat)
        except Exception as error:
            screen.tell(error)
            return
        if screen.chat is chat:
            screen.chat = None
            left = screen.chats.all
            screen.switch(left[min(place, len(left) - 1)] if left else screen.chats.new())

    def command_sessions(self, args: str) -> None:
        screen = self._screen
        if args:
            self._open_by_title(args)
            return
        listing = screen.query_one("#sessions")
        if not listing.display:
            screen.fold("sessions")
        screen.query_one("#chats").focus()

    def _open_by_title(self, title: str) -> None:
        screen = self._screen
        titles = {chat.title.lower(): chat for chat in reversed(screen.chats.all)}
        near = [name for name in titles if title.lower() in name]
        near = near or difflib.get_close_matches(title.lower(), titles, n=1)
        if title.lower() in titles:
            screen.switch(titles[title.lower()])
        elif near:
            screen.switch(titles[near[0]])
        else:
            screen.say(f"There is no chat called “{title}”.", warn=True)

    def command_next(self, args: str) -> None:
        self._step(1)

    def command_previous(self, args: str) -> None:
        self._step(-1)

    def _step(self, by: int) -> None:
        screen = self._screen
        if screen.chat in screen.chats.all:
            place = screen.chats.all.index(screen.chat) + by
            if 0 <= place < len(screen.chats.all):
                screen.switch(screen.chats.all[place])
