"""The log file: takes every message that is not meant for the person, and keeps it off the terminal.

Only its owner may read it, and no text of a chat enters it. The message of an exception may quote a chat (a
`KeyError` quotes its key, a validation error its input), so only messages that the system or the interpreter
wrote are kept; of every other exception the log has the type and the traceback. SQLite's messages may quote
a row: of its errors the log has the name of the code.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType

from stevemin_chat.base.paths import PRIVATE_FILE, PRIVATE_FOLDER

__all__ = ["log_path", "start_logging"]

_MAX_BYTES = 1_000_000
_KEPT_FILES = 3
_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
_QUOTES_NOTHING = (  # kinds of errors whose messages hold no chat text
    OSError,
    ImportError,
    MemoryError,
    ArithmeticError,
    AttributeError,
    NameError,
    RecursionError,
    TypeError,
)
_CHATTY = ("httpx2", "httpcore2", "httpx", "httpcore", "asyncio", "markdown_it")


def start_logging(path: Path, level: int = logging.INFO) -> None:
    """Send log records, warnings and uncaught exceptions of threads to `path`, and none of them elsewhere.

    If the log cannot be written, nothing is logged and the chat works as usual.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.addHandler(_handler(path))
    root.setLevel(level)
    logging.lastResort = None  # prints to stderr where there is no handler
    logging.raiseExceptions = False  # a disk that fills up later must not print tracebacks over the screen
    logging.captureWarnings(True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    threading.excepthook = _log_thread_error
    sys.unraisablehook = _log_unraisable


def log_path() -> Path | None:
    """The log file in use; None when nothing is logged."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _PrivateLog):
            return Path(handler.baseFilename)
    return None


class _PrivateLog(logging.handlers.RotatingFileHandler):
    """A rotating log whose files are private from their creation on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_MAX_BYTES, backupCount=_KEPT_FILES, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
        return open(descriptor, "a", encoding=self.encoding)


class _Formatter(logging.Formatter):
    """Leaves out what may quote a chat."""

    def format(self, record: logging.LogRecord) -> str:
        changes: dict[str, object] = {"exc_text": None}  # another handler's
        if record.name == "asyncio":
            # After the first words it shows a task or a callback with its arguments and its result.
            changes |= {"msg": re.split(r"[\n(<]", record.getMessage())[0], "args": None}
        return super().format(logging.makeLogRecord(vars(record) | changes))

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        return "".join(_account(ei[1], set())).rstrip("\n") if ei[1] is not None else ""


def _account(error: BaseException, told: set[int]) -> Iterator[str]:
    """The traceback of an error after those of the errors that led to it."""
    told.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in told:
        yield from _account(before, told)
        yield "\nwhich led to:\n\n"
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            if id(part) not in told:
                yield from _account(part, told)
        yield "\nwhich together are:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}: {_message(error)}\n"


def _message(error: BaseException) -> str:
    if isinstance(error, _QUOTES_NOTHING):
        return str(error)
    code = getattr(error, "sqlite_errorname", None) if type(error).__module__ == "sqlite3" else None
    return code or "(message left out: it may quote a chat)"


def _handler(path: Path) -> logging.Handler:
    try:
        if not path.exists() or path.is_file():  # a device keeps its folder's mode
            _make_private(path)
        handler = _PrivateLog(path)
    except OSError:
        return logging.NullHandler()
    handler.setFormatter(_Formatter(_FORMAT))
    return handler


def _make_private(path: Path) -> None:
    """Create the folder; revoke the access that earlier versions gave to others."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    kept = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, _KEPT_FILES + 1))]
    with suppress(OSError):  # somebody else's folder or file
        path.parent.chmod(PRIVATE_FOLDER)
        for file in kept:
            if file.is_file():
                file.chmod(PRIVATE_FILE)


def _log_thread_error(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else "?"
        trace: TracebackType | None = args.exc_traceback
        logging.getLogger("stevemin").error(
            "uncaught in thread %s", name, exc_info=(args.exc_type, args.exc_value, trace)
        )


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        # Only the kind of the object: its repr may show what it holds.
        logging.getLogger("stevemin").error(
            "ignored in %s",
            getattr(args.object, "__qualname__", type(args.object).__qualname__),
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )
