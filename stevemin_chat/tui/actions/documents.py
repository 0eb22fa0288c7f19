"""Commands about documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.tui.commands import Table, Words

if TYPE_CHECKING:
    from stevemin_chat.tui.controller import Controller

__all__ = ["COMMANDS"]

_table = Table("Memory")
_documents = Words()


@_documents.word("add", "PATH", "Add a file, a folder or a pattern; all chats may quote it.")
async def add_documents(controller: Controller, args: str) -> None:
    await controller.documents.add(args)


@_documents.word("project", "PATH", "The same, for chats of this chat's project only.")
async def add_to_project(controller: Controller, args: str) -> None:
    if controller.chat is not None:
        await controller.documents.add_to_project(args, controller.chat)


@_documents.word("remove", "PATH", "Remove what was added, or a file of it; the files stay.")
async def remove_documents(controller: Controller, args: str) -> None:
    await controller.documents.remove(args)


@_documents.word("sync", "", "Read new and changed files again.")
async def sync_documents(controller: Controller, args: str) -> None:
    controller.documents.sync()


@_documents.word("stop", "", "Stop reading; what was read stays.")
async def stop_documents(controller: Controller, args: str) -> None:
    controller.documents.stop()


@_table.command(
    "docs",
    "Documents",
    "Add files that answers may quote, list and remove them.",
    "[what]",
    below=_documents.words,
)
async def open_documents(controller: Controller, args: str) -> None:
    from stevemin_chat.tui.screens.documents import DocumentsScreen

    await controller.view.ask(DocumentsScreen(controller.documents))


COMMANDS = _table.commands
