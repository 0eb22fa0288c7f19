"""Commands about context and long-term memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.tui.commands import Table, Words

if TYPE_CHECKING:
    from stevemin_chat.tui.controller import Controller

__all__ = ["COMMANDS"]

_table = Table("Memory")
_memory = Words()


def _strategies(controller: Controller) -> list[str]:
    from memory import STRATEGIES

    return list(STRATEGIES)


@_table.command(
    "context",
    "What the model saw",
    "Show what went into the last prompt; with a name, change the strategy.",
    "[strategy]",
    key="f4",
    values=_strategies,
)
async def show_context(controller: Controller, args: str) -> None:
    chat = controller.chat
    if chat is None:
        return
    name: str | None = args
    if not name:
        wish = await controller.memory.show_context(chat)
        if wish == "strategy":
            name = await controller.memory.choose_strategy(chat)
        elif wish is not None:
            await controller.go_to(wish)
    if name:
        done = f"Context strategy: {name}, from the next answer on."
        await controller.change_setting(chat, "strategy", name, done)


@_memory.word("search", "[text]", "Find what was said, in any chat.")
async def search_memory(controller: Controller, args: str) -> None:
    await _memory_screen(controller, args)


async def _memory_screen(controller: Controller, query: str) -> None:
    from stevemin_chat.tui.screens.memory import MemoryScreen

    if controller.chat is None:
        return
    place = await controller.view.ask(MemoryScreen(controller.memory, controller.chat, query=query))
    if place is not None:
        await controller.go_to(place)


@_memory.word("forget", "", "Forget the last exchange of this chat, after asking.")
async def forget_exchange(controller: Controller, args: str) -> None:
    if controller.chat is not None:
        await controller.memory.forget_last(controller.chat, controller.note)


@_memory.word("off", "", "Take this chat off the record.")
async def off_record(controller: Controller, args: str) -> None:
    if controller.chat is not None:
        await controller.memory.set_off_record(controller.chat, True, controller.note)


@_memory.word("on", "", "Put this chat on the record again.")
async def on_record(controller: Controller, args: str) -> None:
    if controller.chat is not None:
        await controller.memory.set_off_record(controller.chat, False, controller.note)


@_memory.word(
    "scope",
    "[where]",
    "Set how far this chat's memory reaches.",
    values=(
        ("everywhere", "All chats may recall this one, and it recalls them."),
        ("project", "Only chats of the same folder."),
        ("session", "Only this chat."),
    ),
)
async def set_scope(controller: Controller, args: str) -> None:
    if controller.chat is not None:
        await controller.memory.set_scope(controller.chat, args)


@_memory.word("add", "TEXT", "Add a fact to your profile.", lines=True)
async def add_fact(controller: Controller, args: str) -> None:
    await controller.memory.add_fact(args)


@_table.command(
    "memory",
    "Memory",
    "Look at, search, correct and forget what is remembered.",
    "[what]",
    key="f5",
    below=_memory.words,
)
async def open_memory(controller: Controller, args: str) -> None:
    await _memory_screen(controller, "")


COMMANDS = _table.commands
