"""What the controller and its actions need of a screen."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from textual.screen import Screen

    from stevemin_chat.chats import Chat

__all__ = ["Dialogue", "View"]

Result = TypeVar("Result")


class Dialogue(Protocol):
    """Notices and questions, on top of whichever screen is shown."""

    def say(self, text: str, title: str = "", *, warn: bool = False) -> None:
        """Show a short notice."""

    def tell(self, error: BaseException) -> None:
        """Show an error in words."""

    async def ask(self, question: Screen[Result]) -> Result | None:
        """Show a dialog and wait for its result; None when it is cancelled. Only inside `run`."""
        ...

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run in the background."""


class View(Dialogue, Protocol):
    """The chat screen."""

    # the prompt

    @property
    def draft(self) -> str:
        """The text in the prompt."""
        ...

    @property
    def entered(self) -> bool:
        """Whether a message was entered before the controller was attached."""
        ...

    def put(self, text: str, *, recalled: bool = False) -> None:
        """Replace the text in the prompt.

        Args:
            recalled: an older message, which ↑ may replace until it is edited.
        """

    def give_back(self, text: str) -> None:
        """Put text before what is in the prompt."""

    def focus_prompt(self) -> bool:
        """Move the focus to the prompt; False when it was there."""
        ...

    # the list of chats

    @property
    def marked(self) -> str | None:
        """Key of the chat highlighted in the list, while the list has the focus."""
        ...

    def show_chats(self, chats: Sequence[Chat], visible: Chat | None) -> None:
        """List these chats."""

    def show_state(self, chat: Chat, *, visible: bool, queue_hint: str) -> None:
        """Show a chat's title, mark and queue again.

        Args:
            queue_hint: when the queued messages are sent.
        """

    def focus_list(self) -> None:
        """Unfold the list of chats and move the focus there."""

    # the transcript

    async def open(self, chat: Chat, message_id: str | None, *, first_model: str | None) -> bool:
        """Show a chat; nothing if another one is asked for meanwhile.

        Args:
            message_id: shown in place of the end.
            first_model: greet a new person and name the model.

        Returns:
            False when the message is not in this version of the chat.
        """
        ...

    def sync(self) -> None:
        """Show the entries that were added to or removed from the visible chat."""

    def follow(self) -> None:
        """Scroll to the end and stay there."""

    @property
    def selection(self) -> str | None:
        """The selected text of the transcript."""
        ...

    # the rest of the screen

    def show_load(self, name: str | None, progress: float) -> None:
        """Show the model being loaded and its progress, 0 to 1; None when none is."""

    def refresh_status(self) -> None:
        """Poll the controller for its `Status` now."""

    def copy(self, text: str) -> None:
        """Put a text on the clipboard."""

    def fold(self, name: str) -> None:
        """Show or hide the list of chats (`sessions`) or the stats panel (`metrics`)."""

    def help(self) -> None:
        """Show keys and commands."""

    def quit(self) -> None:
        """Store everything and leave."""

    theme: str

    @property
    def themes(self) -> Sequence[str]:
        """Names of the themes."""
        ...
