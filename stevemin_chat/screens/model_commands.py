"""Commands about the model and its prompt: model, cancel, context, system."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work

from stevemin_chat.phrases import count
from stevemin_chat.sanitize import sanitize
from stevemin_chat.screens.commanding import Commanding
from stevemin_chat.screens.dialogs import Choice, Choose, Confirm, EditText
from stevemin_chat.screens.models import model_choices

if TYPE_CHECKING:
    from memory import ContextReport
    from stevemin_chat.chat import Chat

__all__ = ["STRATEGY_WORDS", "ModelCommands", "context_words"]

_RECALL_CHARACTERS = 60


class ModelCommands(Commanding):
    """Mixed into the chat screen."""

    @work
    async def command_model(self, args: str) -> None:
        screen = self._screen
        name: str | None = args
        if not name:
            choices = await asyncio.to_thread(model_choices, screen.runtime)
            name = await screen.app.push_screen_wait(
                Choose(
                    "Models on this machine, and those that can be pulled",
                    choices,
                    chosen=screen.runtime.model_name,
                )
            )
        if not name:
            return
        try:  # before anyone is asked to give up an answer for it
            await asyncio.to_thread(screen.runtime.catalogue.resolve, name, screen.runtime.paths.models_dir)
        except Exception as error:
            screen.tell(error)
            return
        if await self._may_stop_answers():
            screen.load_model(name)

    async def _may_stop_answers(self) -> bool:
        busy = len(self._screen.chats.busy)
        if not busy:
            return True
        what = "The answer being written stops" if busy == 1 else f"The {busy} answers being written stop"
        return await self._screen.app.push_screen_wait(
            Confirm(f"{what}; the text so far stays. Go on?", "Load")
        )

    @work
    async def command_cancel(self, args: str) -> None:
        if not await self._screen.loader.cancel():
            self._screen.say("No model is being loaded.")

    @work
    async def command_context(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        if chat is None:
            return
        name: str | None = args
        if not name:
            rows = [Choice(name, name, words) for name, words in STRATEGY_WORDS.items()]
            about = context_words(chat.last_context)
            name = await screen.app.push_screen_wait(
                Choose("Context strategy of this chat", rows, chosen=screen.strategy(), text=about)
            )
        if name:
            await self._configure(
                chat, "strategy", name, f"Context strategy: {name}, from the next answer on."
            )

    @work
    async def command_system(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        if chat is None:
            return
        text: str | None = args
        if not text:
            own = chat.system_prompt
            now = own if own is not None else screen.runtime.config.system_prompt or ""
            text = await screen.app.push_screen_wait(EditText("System prompt of this chat", now))
        if text is not None:
            done = "System prompt set" if text.strip() else "System prompt removed"
            await self._configure(chat, "system_prompt", text.strip(), f"{done}, from the next answer on.")

    async def _configure(self, chat: Chat, setting: str, value: str, done: str) -> None:
        try:
            await self._screen.chats.configure(chat, **{setting: value})
        except Exception as error:
            self._screen.tell(error)
        else:
            self._screen.say(done)
            self._screen.poll()


STRATEGY_WORDS = {
    "sliding": "the newest messages that fit; the oldest go first, in chunks",
    "full": "everything; refuses to answer when it no longer fits",
    "hierarchical": "the newest messages, and what was said about the question in any chat",
    "retrieval": "a few new messages, and more of what was said about the question",
    "adaptive": "as hierarchical, with shares that follow the question",
}


def context_words(report: ContextReport | None) -> str:
    """What went into the last prompt, in lines."""
    if report is None:
        return "No prompt was made in this chat since stevemin started."
    lines = [f"Last prompt ({report.strategy}): {report.tokens:,} of {report.budget_tokens:,} tokens."]
    for layer in report.layers:
        if layer.tokens:
            where = f", {count(layer.messages, 'message')}" if layer.messages else ""
            lines.append(f"  {layer.name}: {count(layer.tokens, 'token')}{where}")
    for recall in report.recalls:
        lines.append(
            f"  recalled ({recall.score:.1f}): {' '.join(sanitize(recall.text).split())[:_RECALL_CHARACTERS]}"
        )
    if report.dropped:
        tokens = count(sum(dropped.tokens for dropped in report.dropped), "token")
        messages = count(len(report.dropped), "message")
        lines.append(f"  left out: {messages}, {tokens} ({report.dropped[0].reason})")
    return "\n".join(lines)
