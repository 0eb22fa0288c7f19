"""`stevemin`: from the command line to an exit code, and the only place where errors become lines on stderr.

Exit codes:
    0    done
    1    failed, with one clear line on stderr
    2    wrong usage
    129  hung up: the terminal was closed
    130  interrupted by Ctrl-C
    143  terminated
An answer that a signal ends is stored before the process exits.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["main"]

# Nothing else is imported before main() runs: Ctrl-C while modules load must not print a traceback,
# and `stevemin --help` must not wait for libraries it does not need.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code and never raises."""
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_stdout()
        return 0  # the reader has what it wanted
    except KeyboardInterrupt:
        _drop_stdout()
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException as error:
        try:
            return _tell(error)
        except ImportError as missing:
            print(f"stevemin: The installation is incomplete ({missing}). Run: make install", file=sys.stderr)
            return 1


def _run(arguments: list[str]) -> int:
    from stevemin_chat.cli.chat import chat_only, open_chat

    _ready_streams()
    if chat_only(arguments):
        return open_chat(arguments[1] if arguments else None)
    from stevemin_chat.cli.root import build, run

    return run(build(), arguments)


def _ready_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - lives as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 must not end an answer


def _tell(error: BaseException) -> int:
    from stevemin_chat.base import Paths, UsageProblem, log_path, start_logging
    from stevemin_chat.notices import describe

    if isinstance(error, ModuleNotFoundError):
        raise error
    if log_path() is None and not isinstance(error, UsageProblem):
        start_logging(Paths.resolve().log_file)
    notice = describe(error)
    if isinstance(error, OSError):
        _drop_stdout()  # a full disk behind a redirected stdout would complain again at exit
    if notice.exit_code != 130:
        print(f"stevemin: {notice.text}", file=sys.stderr)
    return notice.exit_code


def _drop_stdout() -> None:
    """Discard what is still buffered; the interpreter flushes stdout once more at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
