"""The table of commands, each with its handler: it feeds slash commands, palette, key bindings and help.

A handler takes the controller and what follows the command; it never runs before the controller is attached
to the screen. Nothing heavy is imported here: the table is needed before the first paint.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from stevemin_chat.tui.commands import Command, Subcommand, Values
from stevemin_chat.tui.screens.dialogs import Choice, Choose, Confirm, EditLine, EditText

if TYPE_CHECKING:
    from stevemin_chat.chats import Chat
    from stevemin_chat.tui.controller import Controller

    Handler = Callable[[Controller, str], Coroutine[Any, Any, None] | None]

__all__ = ["COMMANDS", "KEYS"]

_table: list[Command] = []
_memory_words: list[Subcommand] = []

_FENCE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1", re.DOTALL | re.MULTILINE)


def action(
    name: str,
    title: str,
    help: str,
    args: str = "",
    *,
    key: str = "",
    label: str = "",
    group: str = "Chats",
    lines: bool = False,
    values: Values | None = None,
    below: Sequence[Subcommand] = (),
) -> Callable[[Handler], Handler]:
    """Add the decorated function to the table; see `Command` for the arguments."""

    def add(handler: Handler) -> Handler:
        _table.append(
            Command(name, title, help, handler, args, key, label, group, lines, values, tuple(below))
        )
        return handler

    return add


def memory_word(
    name: str, args: str, help: str, *, lines: bool = False, values: Sequence[tuple[str, str]] = ()
) -> Callable[[Handler], Handler]:
    """Add the decorated function as a word that may follow `/memory`; see `Subcommand`."""

    def add(handler: Handler) -> Handler:
        _memory_words.append(Subcommand(name, args, help, handler, lines, tuple(values)))
        return handler

    return add


# chats


@action("new", "New chat", "Start a new chat.", "[title]", key="ctrl+n", label="New")
def new_chat(controller: Controller, args: str) -> None:
    controller.new_chat(args)


@action("rename", "Rename chat", "Give this chat another title.", "[title]", key="f2")
def rename_chat(controller: Controller, args: str) -> None:
    if (chat := controller.marked) is not None:
        controller.view.run(partial(_rename, controller, chat, args))


async def _rename(controller: Controller, chat: Chat, args: str) -> None:
    title: str | None = args
    if not title:
        title = await controller.view.ask(EditLine("Rename chat", chat.title))
    if title and title.strip():
        try:
            await controller.chats.rename(chat, title)
        except Exception as error:
            controller.view.tell(error)


@action("delete", "Delete chat", "Delete this chat, after asking.", key="f8")
def delete_chat(controller: Controller, args: str) -> None:
    chat = controller.marked
    if chat is not None and not (chat.blank and chat is controller.chat):
        controller.view.run(partial(_delete, controller, chat))


async def _delete(controller: Controller, chat: Chat) -> None:
    question = f"Delete “{chat.title or 'New chat'}” and all its messages?"
    if await controller.view.ask(Confirm(question, "Delete")):
        await controller.delete(chat)


def _titles(controller: Controller) -> list[str]:
    return [chat.title for chat in controller.chats.all if chat.title and "\n" not in chat.title]


@action(
    "sessions",
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


@action("next", "Next chat", "Open the chat below in the list.", key="alt+down,ctrl+down")
def next_chat(controller: Controller, args: str) -> None:
    _step(controller, 1)


@action("previous", "Previous chat", "Open the chat above in the list.", key="alt+up,ctrl+up")
def previous_chat(controller: Controller, args: str) -> None:
    _step(controller, -1)


def _step(controller: Controller, by: int) -> None:
    chats = controller.chats.all
    if controller.chat in chats:
        place = chats.index(controller.chat) + by
        if 0 <= place < len(chats):
            controller.switch(chats[place])


# answers


@action("stop", "Stop the answer", "Stop the answer; its text stays.", key="escape", group="Answers")
def stop_answer(controller: Controller, args: str) -> None:
    if not controller.view.focus_prompt() and controller.chat is not None:
        controller.chats.answers.stop(controller.chat)


@action(
    "regenerate",
    "Answer again",
    "Ask for another answer to your last message.",
    key="ctrl+r",
    label="Again",
    group="Answers",
)
def answer_again(controller: Controller, args: str) -> None:
    chat = controller.chat
    if chat is None or controller.chats.answers.regenerate(chat):
        return
    if chat.busy:
        controller.warn("An answer is being written; esc stops it.")
    elif not controller.chats.answers.ready:
        controller.warn("No model is loaded yet.")
    else:
        controller.warn("There is nothing to answer yet.")


@action(
    "unqueue", "Take queued messages back", "Take the queued messages back into the prompt.", group="Answers"
)
def take_queue_back(controller: Controller, args: str) -> None:
    if not controller.take_back():
        controller.view.say("Nothing is queued.")
    while controller.take_back():
        pass


@action(
    "copy",
    "Copy the answer",
    "Copy the last answer, or only its last code block.",
    "[code]",
    key="alt+c",
    group="Answers",
    values=lambda controller: ["code"],
)
def copy_answer(controller: Controller, args: str) -> None:
    entries = (controller.chat.entries or []) if controller.chat else []
    answers = [entry.text for entry in entries if entry.role == "assistant" and entry.text]
    if not answers:
        controller.warn("There is no answer to copy.")
    elif not args:
        controller.view.copy(answers[-1])
    elif args.lower() != "code":
        controller.warn("/copy takes no argument, or the word code.")
    elif blocks := _FENCE.findall(answers[-1]):
        controller.view.copy(blocks[-1][1])
    else:
        controller.warn("There is no code block in the last answer.")


@action("end", "Go to the end", "Jump to the newest text and follow it.", key="ctrl+end", group="Answers")
def go_to_end(controller: Controller, args: str) -> None:
    controller.view.follow()


# the model


@action(
    "model",
    "Choose a model",
    "Load another model: a name, a .gguf file, or OWNER/REPO:FILE.",
    "[name]",
    key="ctrl+o",
    label="Model",
    group="Model",
    values=lambda controller: controller.models.known,
)
async def choose_model(controller: Controller, args: str) -> None:
    await controller.models.choose(args)


@action("cancel", "Cancel the model load", "Stop loading a model.", group="Model")
async def cancel_load(controller: Controller, args: str) -> None:
    await controller.models.cancel()


@action(
    "system",
    "System prompt",
    "Set this chat's system prompt; without text, edit it.",
    "[text]",
    group="Model",
    lines=True,
)
async def set_system_prompt(controller: Controller, args: str) -> None:
    chat = controller.chat
    if chat is None:
        return
    text: str | None = args
    if not text:
        own = chat.system_prompt
        now = own if own is not None else controller.runtime.config.system_prompt or ""
        text = await controller.view.ask(EditText("System prompt of this chat", now))
    if text is not None:
        done = "set" if text.strip() else "removed"
        done = f"System prompt {done}, from the next answer on."
        await controller.configure(chat, "system_prompt", text.strip(), done)


# memory


def _strategies(controller: Controller) -> list[str]:
    from memory import STRATEGIES

    return list(STRATEGIES)


@action(
    "context",
    "What the model saw",
    "Show what went into the last prompt; with a name, change the strategy.",
    "[strategy]",
    key="f4",
    group="Memory",
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
        await controller.configure(chat, "strategy", name, done)


@memory_word("search", "[text]", "Find what was said, in any chat.")
async def search_memory(controller: Controller, args: str) -> None:
    await _memory_screen(controller, args)


async def _memory_screen(controller: Controller, query: str) -> None:
    from stevemin_chat.tui.screens.memory import MemoryScreen

    if controller.chat is None:
        return
    place = await controller.view.ask(MemoryScreen(controller.memory, controller.chat, query=query))
    if place is not None:
        await controller.go_to(place)


@memory_word("forget", "", "Forget the last exchange of this chat, after asking.")
async def forget_exchange(controller: Controller, args: str) -> None:
    if controller.chat is not None:
        await controller.memory.forget_last(controller.chat, controller.note)


@memory_word("off", "", "Take this chat off the record.")
async def off_record(controller: Controller, args: str) -> None:
    if controller.chat is not None:
        await controller.memory.set_off_record(controller.chat, True, controller.note)


@memory_word("on", "", "Put this chat on the record again.")
async def on_record(controller: Controller, args: str) -> None:
    if controller.chat is not None:
        await controller.memory.set_off_record(controller.chat, False, controller.note)


@memory_word(
    "scope",
    "[where]",
    "Set how far this chat's memory reaches.",
    values=(
        ("everywhere", "All chats may recall this one, and it recalls them."),
        ("project", "Only chats of the same folder."),
        ("session", "Only this chat itself."),
    ),
)
async def set_scope(controller: Controller, args: str) -> None:
    if controller.chat is not None:
        await controller.memory.set_scope(controller.chat, args)


@memory_word("add", "TEXT", "Add a fact to your profile.", lines=True)
async def add_fact(controller: Controller, args: str) -> None:
    await controller.memory.add_fact(args)


@action(
    "memory",
    "Memory",
    "Look at, search, correct and forget what is remembered.",
    "[what]",
    key="f5",
    group="Memory",
    below=_memory_words,
)
async def open_memory(controller: Controller, args: str) -> None:
    await _memory_screen(controller, "")


# the screen


@action(
    "list",
    "Show or hide the chats",
    "Show or hide the list of chats.",
    key="ctrl+l",
    label="Chats",
    group="Screen",
)
def fold_list(controller: Controller, args: str) -> None:
    controller.view.fold("sessions")


@action(
    "panel",
    "Show or hide the stats",
    "Show or hide the panel with the engine's stats.",
    key="ctrl+g",
    label="Stats",
    group="Screen",
)
def fold_panel(controller: Controller, args: str) -> None:
    controller.view.fold("metrics")


@action(
    "theme",
    "Theme",
    "Change the colours for this run; set `theme` in config.toml to keep them.",
    "[name]",
    group="Screen",
    values=lambda controller: controller.view.themes,
)
async def choose_theme(controller: Controller, args: str) -> None:
    view = controller.view
    name: str | None = args
    if not name:
        rows = [Choice(theme, theme) for theme in view.themes]
        name = await view.ask(Choose("Theme", rows, chosen=view.theme))
    if name and name in view.themes:
        view.theme = name
    elif name:
        controller.warn(f"There is no theme {name}. /theme lists them.")


@action("help", "Help", "Show keys and commands.", key="f1", label="Help", group="Screen")
def show_help(controller: Controller, args: str) -> None:
    controller.view.help()


@action("quit", "Quit", "Store everything and leave.", key="ctrl+q", label="Quit", group="Screen")
def leave(controller: Controller, args: str) -> None:
    controller.view.quit()


COMMANDS: tuple[Command, ...] = tuple(_table)

KEYS: tuple[tuple[str, str], ...] = (
    ("enter", "send; while an answer is being written, queue"),
    ("ctrl+j, shift+enter, alt+enter", "new line"),
    ("↑ in an empty prompt", "take a queued message back, or recall what you sent"),
    ("tab", "complete a command"),
    ("pageup, pagedown", "scroll the chat"),
    ("esc", "close a list, or stop the answer"),
    ("ctrl+p", "command palette"),
    ("ctrl+c", "copy the selection, or stop the answer"),
)
