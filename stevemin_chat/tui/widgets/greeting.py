"""What an empty chat shows."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

__all__ = ["Greeting", "Hint"]

_KEYS = (
    ("enter", "send", "ctrl+j", "new line"),
    ("esc", "stop an answer", "ctrl+n", "another chat"),
    ("alt+↑ alt+↓", "switch chats", "/", "commands"),
    ("ctrl+l", "list of chats", "ctrl+g", "figures"),
    ("ctrl+p", "command palette", "f1", "help"),
)


class Greeting(Static):
    """The first thing a new person sees; stays until the first message."""

    def __init__(self, model: str) -> None:
        super().__init__(_greeting(model), classes="opening greeting")


class Hint(Static):
    """A quiet line in a new chat."""

    def __init__(self) -> None:
        text = "A new chat. Type below and press enter; / lists the commands."
        super().__init__(text, classes="opening hint", markup=False)


def _greeting(model: str) -> Content:
    def pair(key: str, what: str, key_width: int, width: int) -> Content:
        return Content.assemble((key.ljust(key_width), "$primary"), (what.ljust(width), "$foreground 75%"))

    lines = [
        Content.styled("stevemin", "bold $foreground"),
        Content.styled(
            "Chat with a language model that runs in this terminal, on this machine.", "$foreground 75%"
        ),
        Content(""),
        Content.assemble(("Model  ", "$foreground 50%"), model),
        Content.styled(
            "Nothing leaves the machine, and everything is kept. Several chats can answer at once.",
            "$foreground 75%",
        ),
        Content(""),
        Content("Type a message below and press enter to begin."),
        Content(""),
        *(Content.assemble(pair(a, b, 13, 19), pair(c, d, 8, 16)) for a, b, c, d in _KEYS),
    ]
    return Content("\n").join(lines)
