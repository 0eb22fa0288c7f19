"""What becomes of what is typed: sending, recalling, completing."""

from __future__ import annotations

from textual.widgets import OptionList, TextArea

from stevemin_chat.tui.actions import Message, Run, parse
from stevemin_chat.tui.commanding import Commanding
from stevemin_chat.tui.completing import completions_for
from stevemin_chat.tui.widgets.completions import Completions
from stevemin_chat.tui.widgets.prompt import Prompt

__all__ = ["Prompting"]


class Prompting(Commanding):
    """Mixed into the chat screen."""

    def on_prompt_sent(self, event: Prompt.Sent) -> None:
        """Enter: a message, a command, or, when empty, the queue once more."""
        screen, chat = self._screen, self._screen.chat
        if chat is None:
            screen.entered_early = True  # sent as soon as the chats are read
            return
        if not event.text.strip():
            screen.chats.answers.start(chat)
            return
        meant = parse(event.text)
        if isinstance(meant, Message):
            screen.prompt.put("")
            screen.send(chat, meant.text)
        elif isinstance(meant, Run):
            screen.prompt.put("")
            self.run_command(meant.command, meant.args)
        else:
            hint = f"Did you mean /{meant.near}?" if meant.near else "/help lists the commands."
            screen.say(f"There is no command /{meant.name}. {hint}", warn=True)

    def on_prompt_recall(self) -> None:
        """Up in an empty prompt: first what is queued, then what was sent."""
        screen, chat = self._screen, self._screen.chat
        if chat is None:
            return
        current = screen.prompt.text
        taken = None if current else screen.chats.answers.take_back(chat)
        if taken is not None:
            screen.prompt.put(taken)
            return
        sent = chat.last_sent
        if current in sent:
            sent = sent[: len(sent) - 1 - sent[::-1].index(current)]
        if sent:
            screen.prompt.put(sent[-1], recalled=True)

    def on_queue_bar_take_back(self) -> None:
        """A click on the queue."""
        screen = self._screen
        taken = screen.chats.answers.take_back(screen.chat) if screen.chat else None
        if taken is not None:
            screen.prompt.give_back(taken)
            screen.prompt.focus()

    def on_prompt_stop(self) -> None:
        """Ctrl-C: copy what is selected in the chat, else stop the answer, else say how to leave."""
        screen = self._screen
        selected = screen.get_selected_text()
        if selected:
            screen.copy(selected)
        elif not screen.chat or not screen.chats.answers.stop(screen.chat):
            screen.say("ctrl+q quits.")

    def on_prompt_scroll(self, event: Prompt.Scroll) -> None:
        """A page of the chat, less two rows that stay in view."""
        view = self._screen.transcript
        view.scroll_relative(y=event.direction * max(1, view.size.height - 2), animate=False)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Offer what a half-typed command may become."""
        screen = self._screen
        if event.text_area is screen.prompt:
            rows = completions_for(screen.prompt.text, screen)
            screen.query_one(Completions).offer(rows)
            screen.prompt.completing = bool(rows)

    def on_prompt_key(self, event: Prompt.Key) -> None:
        """A key for the list of completions, which may have closed since it was pressed."""
        offered = self._screen.query_one(Completions)
        if not offered.display:
            if event.key == "enter":
                self.on_prompt_sent(Prompt.Sent(self._screen.prompt.text))
        elif event.key == "up":
            offered.action_cursor_up()
        elif event.key == "down":
            offered.action_cursor_down()
        elif event.key == "escape" or offered.chosen is None:
            self._close_completions()
        else:
            self._complete(offered.chosen, run=event.key == "enter")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click on a completion."""
        if isinstance(event.option_list, Completions) and event.option_id is not None:
            self._complete(event.option_id, run=True)
            self._screen.prompt.focus()

    def _complete(self, text: str, *, run: bool) -> None:
        self._close_completions()
        if run and not text.endswith(" "):
            self.on_prompt_sent(Prompt.Sent(text))
        else:
            self._screen.prompt.put(text)

    def _close_completions(self) -> None:
        self._screen.query_one(Completions).offer([])
        self._screen.prompt.completing = False
