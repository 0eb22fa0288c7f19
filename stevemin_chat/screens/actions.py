"""What each command of the table does on the chat screen: `command_NAME(args)`."""

from __future__ import annotations

import asyncio
import difflib
import re
from typing import TYPE_CHECKING, cast

from textual import work

from memory import STRATEGIES
from stevemin_chat.clipboard import copy_natively
from stevemin_chat.commands import Command, find
from stevemin_chat.screens.dialogs import Choice, Choose, Confirm, EditLine, EditText
from stevemin_chat.screens.help import HelpScreen
from stevemin_chat.screens.models import model_choices

if TYPE_CHECKING:
    from memory import ContextReport
    from stevemin_chat.chats import Chat
    from stevemin_chat.screens.chat import ChatScreen

__all__ = ["ChatActions"]

_FENCE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1", re.DOTALL | re.MULTILINE)


class ChatActions:
    """Mixed into the chat screen."""

    @property
    def _screen(self) -> ChatScreen:
        return cast("ChatScreen", self)

    def action_command(self, name: str) -> None:
        """Run a command by key or from the palette."""
        command = find(name)
        if command is not None:
            self.run_command(command, "")

    def run_command(self, command: Command, args: str) -> None:
        """Run a command of the table."""
        if args and not command.args:
            self._screen.say(f"/{command.name} takes nothing after it.", warn=True)
            return
        getattr(self, f"command_{command.name}")(args)

    # chats

    def command_new(self, args: str) -> None:
        screen = self._screen
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

    # answers

    def command_stop(self, args: str) -> None:
        screen = self._screen
        if screen.focused is not screen.prompt:
            screen.prompt.focus()
        elif screen.chat is not None:
            screen.chats.stop(screen.chat)

    def command_regenerate(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        if chat is None or screen.chats.regenerate(chat):
            return
        if chat.busy:
            screen.say("An answer is being written; esc stops it.", warn=True)
        elif not screen.chats.ready:
            screen.say("There is no model yet.", warn=True)
        else:
            screen.say("There is nothing to answer yet.", warn=True)

    def command_unqueue(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        texts: list[str] = []
        while chat is not None and (text := screen.chats.take_back(chat)) is not None:
            texts.insert(0, text)
        if texts:
            screen.prompt.give_back("\n".join(texts))
        else:
            screen.say("Nothing is queued.")

    def command_copy(self, args: str) -> None:
        screen, chat = self._screen, self._screen.chat
        replies = [e.text for e in (chat.entries or []) if e.role == "assistant" and e.text] if chat else []
        if not replies:
            screen.say("There is no answer to copy.", warn=True)
        elif not args:
            self.copy(replies[-1])
        elif args.lower() != "code":
            screen.say("/copy takes nothing, or the word code.", warn=True)
        elif blocks := _FENCE.findall(replies[-1]):
            self.copy(blocks[-1][1])
        else:
            screen.say("There is no code block in the last answer.", warn=True)

    @work
    async def copy(self, text: str) -> None:
        """Put a text on the clipboard."""
        if not await asyncio.to_thread(copy_natively, text):
            self._screen.app.copy_to_clipboard(text)  # the terminal may ignore it, and does not say so
        self._screen.say(f"{len(text):,} characters copied.")

    def command_end(self, args: str) -> None:
        self._screen.transcript.follow()

    # model

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
        if name and await self._may_stop_answers():
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
            rows = [Choice(s.name, s.name, _STRATEGY_WORDS.get(s.name, "")) for s in STRATEGIES.values()]
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
            own = chat.record.system_prompt if chat.record else chat.settings.get("system_prompt")
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

    # screen

    def command_list(self, args: str) -> None:
        self._screen.fold("sessions")

    def command_panel(self, args: str) -> None:
        self._screen.fold("metrics")

    def command_theme(self, args: str) -> None:
        screen = self._screen
        if args in screen.app.available_themes:
            screen.app.theme = args
        elif args:
            screen.say(f"There is no theme {args}. /theme lists them.", warn=True)
        else:
            self._choose_theme()

    @work
    async def _choose_theme(self) -> None:
        app = self._screen.app
        rows = [Choice(name, name) for name in sorted(app.available_themes)]
        name = await app.push_screen_wait(Choose("Theme", rows, chosen=app.theme))
        if name:
            app.theme = name

    def command_help(self, args: str) -> None:
        self._screen.app.push_screen(HelpScreen())

    async def command_quit(self, args: str) -> None:
        await self._screen.app.action_quit()


_STRATEGY_WORDS = {
    "sliding": "the newest messages that fit; the oldest go first, in chunks",
    "full": "everything; refuses to answer when it no longer fits",
}


def context_words(report: ContextReport | None) -> str:
    """What went into the last prompt, in lines."""
    if report is None:
        return "No prompt was made in this chat since stevemin started."
    lines = [f"Last prompt ({report.strategy}): {report.tokens:,} of {report.budget_tokens:,} tokens."]
    lines += [
        f"  {layer.name}: {layer.tokens:,} tokens, {layer.messages:,} messages" for layer in report.layers
    ]
    if report.dropped:
        tokens = sum(dropped.tokens for dropped in report.dropped)
        lines.append(
            f"  left out: {len(report.dropped):,} messages, {tokens:,} tokens ({report.dropped[0].reason})"
        )
    return "\n".join(lines)
