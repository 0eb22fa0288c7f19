"""Errors in words: every error of every part, in this one file.

Our own errors carry complete sentences; they get a title, an exit code and a hint here. An unknown error
becomes one line that names the log file, which gets the traceback.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from dataclasses import dataclass
from typing import Literal

from engine import errors as engine
from memory import errors as memory
from stevemin_chat import base as app
from stevemin_chat.base import log_path
from stevemin_chat.chats import ChatError
from stevemin_chat.text import one_line

__all__ = ["EXIT_DONE", "EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_USAGE", "Notice", "Severity", "describe"]

Severity = Literal["information", "warning", "error"]

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True)
class Notice:
    """What to tell the person.

    Args:
        title: one to four words.
        text: one line without control characters: what is wrong, where, and what to do.
        severity: as Textual names it.
        exit_code: for a command that this error ends.
    """

    title: str
    text: str
    severity: Severity = "error"
    exit_code: int = EXIT_FAILED


_TITLES: dict[type[BaseException], str] = {
    engine.EngineError: "Engine trouble",
    engine.ConfigError: "Invalid setting",
    engine.ModelError: "Unusable model",
    engine.ModelNotFound: "Model not found",
    engine.ModelTooLarge: "Model too large",
    engine.RequestError: "No answer",
    engine.InvalidRequest: "Invalid setting",
    engine.PromptTooLong: "Prompt too long",
    engine.QueueFull: "Too many requests",
    engine.EngineClosed: "Engine stopped",
    engine.EngineCrashed: "Engine crashed",
    memory.StoreError: "Chat storage",
    memory.DiskFull: "Disk full",
    memory.SessionNotFound: "Chat not found",
    memory.MessageNotFound: "Message not found",
    memory.FactNotFound: "Fact not found",
    memory.MemoryNotFound: "Not remembered",
    memory.InvalidFact: "Invalid fact",
    memory.EmbedderUnavailable: "Search by words only",
    memory.IndexUnavailable: "Search by words only",
    memory.UnknownStrategy: "Unknown strategy",
    memory.BudgetTooSmall: "Prompt too long",
    app.ChatAppError: "stevemin",
    ChatError: "Not sent",
    app.UsageProblem: "Wrong usage",
    app.ConfigFileError: "Invalid settings",
    app.InputFileError: "File not usable",
    app.AlreadyRunning: "Already running",
    app.NoModelLoaded: "No model loaded",
    app.ModelSwitchFailed: "Model not loaded",
    app.HubError: "Download failed",
    app.DiskTooSmall: "Disk full",
}

_HINTS: dict[type[BaseException], str] = {
    engine.PromptTooLong: "Shorten the message, or raise context_tokens under [engine] in the settings.",
    engine.QueueFull: "Wait for an answer to finish, then send the message again.",
    engine.ModelTooLarge: "Choose a smaller model, or lower context_tokens or gpu_layers under [engine].",
}

_SYSTEM = {
    errno.ENOSPC: ("Disk full", "The disk is full{where}. Free some space and try again."),
    errno.EDQUOT: ("Disk full", "Your disk quota is used up{where}. Free some space and try again."),
    errno.EACCES: ("No permission", "Permission denied{where}."),
    errno.EPERM: ("No permission", "Permission denied{where}."),
    errno.EROFS: ("Read-only disk", "The file system is read-only{where}."),
    errno.EMFILE: ("Too many files", "Too many open files{where}; raise `ulimit -n`."),
}

_log = logging.getLogger("stevemin")


def describe(error: BaseException) -> Notice:
    """Put any exception into words. Logs an unknown one with its traceback."""
    if isinstance(error, KeyboardInterrupt | asyncio.CancelledError | engine.LoadCancelled):
        return Notice("Stopped", "Stopped.", "information", EXIT_INTERRUPTED)
    known = _most_specific(_TITLES, error)
    if known is not None:
        return _foreseen(error, known)
    if isinstance(error, MemoryError):
        return Notice("Out of memory", "Not enough free memory.")
    if isinstance(error, OSError) and error.errno is not None:
        return _system(error)
    _log.error("unexpected error", exc_info=error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Notice("Unexpected error", one_line(f"Something unexpected went wrong ({what}).{_see_log()}"))


def _foreseen(error: BaseException, title: str) -> Notice:
    text = str(error) or type(error).__name__
    hint = _most_specific(_HINTS, error)
    if hint:
        text += f" {hint}"
    if isinstance(error, engine.EngineCrashed):
        _log.error("engine crashed", exc_info=error)
        text += _see_log()
    usage = isinstance(error, app.UsageProblem)
    return Notice(title, one_line(text), "error", EXIT_USAGE if usage else EXIT_FAILED)


def _system(error: OSError) -> Notice:
    where = f": {error.filename}" if error.filename else ""
    reason = error.strerror or str(error)
    if isinstance(error, app.FolderNotWritable) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
        text = f"The folder {error.folder} is not writable ({reason}). Set STEVEMIN_HOME to one that is."
        return Notice("Folder not writable", one_line(text))
    title, text = _SYSTEM.get(error.errno or 0, ("File trouble", f"{reason}{{where}}."))
    _log.warning("system error", exc_info=error)
    return Notice(title, one_line(text.replace("{where}", where)))


def _most_specific(table: dict[type[BaseException], str], error: BaseException) -> str | None:
    return next((table[kind] for kind in type(error).__mro__ if kind in table), None)


def _see_log() -> str:
    path = log_path()
    return f" Details are in {path}." if path else ""
