"""The log files: everything that is not meant for the person goes there, nothing to the terminal.

What every command does first.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
from pathlib import Path
from types import TracebackType

from stevemin_chat.base.config import Config, load_config
from stevemin_chat.base.paths import Paths

__all__ = [
    "begin",
    "log_path",
    "start_logging",
]


_MAX_BYTES = 1_000_000
_KEPT_FILES = 3
_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


def start_logging(path: Path, level: int = logging.INFO) -> None:
    """Send all logging, warnings and uncaught exceptions of threads to `path`, and none of it elsewhere.

    A log that cannot be written must not keep anyone from chatting: then nothing is logged.
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
    for chatty in ("httpx2", "httpcore2", "httpx", "httpcore", "asyncio", "markdown_it"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    threading.excepthook = _log_thread_error
    sys.unraisablehook = _log_unraisable


def log_path() -> Path | None:
    """The log file in use; None when nothing is logged."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.handlers.RotatingFileHandler):
            return Path(handler.baseFilename)
    return None


def _handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=_MAX_BYTES, backupCount=_KEPT_FILES, encoding="utf-8"
        )
    except OSError:
        return logging.NullHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    return handler


def _log_thread_error(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else "?"
        trace: TracebackType | None = args.exc_traceback
        logging.getLogger("stevemin").error(
            "uncaught in thread %s", name, exc_info=(args.exc_type, args.exc_value, trace)
        )


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        logging.getLogger("stevemin").error(
            "ignored in %r", args.object, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
        )


def begin() -> tuple[Paths, Config]:
    """Find the folders, start the log, read the settings.

    Raises:
        ConfigFileError: the settings are not valid.
    """
    paths = Paths.resolve()
    start_logging(paths.log_file)
    return paths, load_config(paths.config_file)
