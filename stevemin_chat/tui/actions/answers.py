"""Commands about answers: stop, again, queue, copy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stevemin_chat.tui.commands import Table

if TYPE_CHECKING:
    from stevemin_chat.tui.controller import Controller

__all__ = ["COMMANDS"]

_table = Table("Answers")

_FENCE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1", re.DOTALL | re.MULTILINE)


@_table.command("stop", "Stop the answer", "Stop the answer; its text stays.", key="escape")
def stop_answer(controller: Controller, args: str) -> None:
    if not controller.view.focus_prompt() and controller.chat is not None:
        controller.chats.answers.stop(controller.chat)


@_table.command(
    "regenerate",
    "Answer again",
    "Ask for another answer to your last message.",
    key="ctrl+r",
    label="Again",
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


@_table.command("unqueue", "Take queued messages back", "Take the queued messages back into the prompt.")
def take_queue_back(controller: Controller, args: str) -> None:
    if not controller.take_back():
        controller.view.say("Nothing is queued.")
    while controller.take_back():
        pass


@_table.command(
    "copy",
    "Copy the answer",
    "Copy the last answer, or only its last code block.",
    "[code]",
    key="alt+c",
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


@_table.command("end", "Go to the end", "Jump to the newest text and follow it.", key="ctrl+end")
def go_to_end(controller: Controller, args: str) -> None:
    controller.view.follow()


COMMANDS = _table.commands
