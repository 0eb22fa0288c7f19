"""Opens the chat. Loads neither Typer nor the other commands, so that the screen is drawn sooner."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

__all__ = ["COMPLETION", "chat_only", "open_chat"]

COMPLETION = "_STEVEMIN_COMPLETE"  # in the environment when a shell asks for completions


def chat_only(arguments: Sequence[str]) -> bool:
    """Whether a command line is `stevemin` or `stevemin -m MODEL`, which needs no further parsing."""
    if COMPLETION in os.environ:
        return False
    if len(arguments) == 2 and arguments[0] in ("-m", "--model"):
        return not arguments[1].startswith("-")
    return not arguments


def open_chat(model: str | None) -> int:
    """Run the chat until the person leaves; gives the exit code.

    Raises:
        UsageProblem: stdin or stdout is not a terminal.
        AlreadyRunning: another chat is open over the same folder.
    """
    from stevemin_chat.base import Paths, SingleInstance, UsageProblem

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageProblem("The chat needs a terminal. In scripts and pipes, use: stevemin ask")
    with SingleInstance(Paths.resolve().lock_file):
        gc.disable()  # until the first frame: what is being imported holds no garbage
        from stevemin_chat.tui import run_app

        return run_app(model)
