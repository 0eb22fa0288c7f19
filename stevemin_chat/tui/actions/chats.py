"""Commands about chats: new, rename, delete, and going from one to another."""

from __future__ import annotations

import difflib
from functools import partial
from typing import TYPE_CHECKING

from stevemin_chat.tui.commands import Table

if TYPE_CHECKING:
    from stevemin_chat.chats import Chat
    from stevemin_chat.tui.controller import Controller

__all__ = ["COMMANDS"]

_table = Table("Chats")


@_table.command("new", "New chat", "Start a new chat.", "[title]", key="ctrl+n", label="New")
def new_chat(controller: Controller, args: str) -> None:
    controller.new_chat(args)


@_table.command("rename", "Rename chat", "Give this chat another title.", "[title]", key="f2")
def rename_chat(controller: Controller, args: str) -> None:
    if (chat := controller.marked) is not None:
        controller.view.run(partial(_rename, controller, chat, args))


async def _rename(controller: Controller, chat: Chat, args: str) -> None:
    from stevemin_chat.tui.screens.dialogs import EditLine

    title: str | None = args
    if not title:
        title = await controller.view.ask(EditLine("Rename chat", chat.title))
    if title and title.strip():
        try:
            await controller.chats.rename(chat, title)
        except Exception as error:
            controller.view.tell(error)


@_table.command("delete", "Delete chat", "Delete this chat, after asking.", key="f8")
def delete_chat(controller: Controller, args: str) -> None:
    chat = controller.marked
    if chat is not None and not (chat.blank and chat is controller.chat):
        controller.view.run(partial(_delete, controller, chat))


async def _delete(controller: Controller, chat: Chat) -> None:
    from stevemin_chat.tui.screens.dialogs import Confirm

    question = f"Delete “{chat.title or 'New chat'}” and all its messages?"
    if await controller.view.ask(Confirm(question, "Delete")):
        await controller.delete(chat)


def _titles(controller: Controller) -> list[str]:
    return [chat.title for chat in controller.chats.all if chat.title and "\n" not in chat.title]


@_table.command(
    "chats",
    "Go to the chats",
    "Move to the list of chats, or open one by title.",
    "[title]",
    key="f3",
    values=_titles,
)
def go_to_chats(controller: Controller, args: str) -> None:
    if not args:
        controller.view.focus_list()
        return
    title = args.lower()
    titles = {chat.title.lower(): chat for chat in reversed(controller.chats.all)}
    near = [name for name in titles if title in name] or difflib.get_close_matches(title, titles, n=1)
    if title in titles:
        controller.switch(titles[title])
    elif near:
        controller.switch(titles[near[0]])
    else:
        controller.warn(f"There is no chat called “{args}”.")


@_table.command("next", "Next chat", "Open the chat below in the list.", key="alt+down,ctrl+down")
def next_chat(controller: Controller, args: str) -> None:
    _step(controller, 1)


@_table.command("previous", "Previous chat", "Open the chat above in the list.", key="alt+up,ctrl+up")
def previous_chat(controller: Controller, args: str) -> None:
    _step(controller, -1)


def _step(controller: Controller, by: int) -> None:
    chats = controller.chats.all
    if controller.chat in chats:
        place = chats.index(controller.chat) + by
        if 0 <= place < len(chats):
            controller.switch(chats[place])


COMMANDS = _table.commands
