"""Commands about the model and its system prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.tui.commands import Table

if TYPE_CHECKING:
    from stevemin_chat.tui.controller import Controller

__all__ = ["COMMANDS"]

_table = Table("Model")


@_table.command(
    "model",
    "Choose a model",
    "Load another model: a name, a .gguf file, or OWNER/REPO:FILE.",
    "[name]",
    key="ctrl+o",
    label="Model",
    values=lambda controller: controller.models.known,
)
async def choose_model(controller: Controller, args: str) -> None:
    await controller.models.choose(args)


@_table.command("cancel", "Cancel the model load", "Stop loading a model.")
async def cancel_load(controller: Controller, args: str) -> None:
    await controller.models.cancel()


@_table.command(
    "system",
    "System prompt",
    "Set this chat's system prompt; without text, edit it.",
    "[text]",
    lines=True,
)
async def set_system_prompt(controller: Controller, args: str) -> None:
    chat = controller.chat
    if chat is None:
        return
    text: str | None = args
    if not text:
        from stevemin_chat.tui.screens.dialogs import EditText

        own = chat.system_prompt
        now = own if own is not None else controller.runtime.config.system_prompt or ""
        text = await controller.view.ask(EditText("System prompt of this chat", now))
    if text is not None:
        done = "set" if text.strip() else "removed"
        done = f"System prompt {done}, from the next answer on."
        await controller.change_setting(chat, "system_prompt", text.strip(), done)


COMMANDS = _table.commands
