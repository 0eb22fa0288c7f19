"""Runs a worker process: starts it, exchanges messages with it, and ends it when it hangs.

Both workers are plain child processes rather than `multiprocessing`'s, which import the application's main
module again, send pickles and leave a resource tracker behind. A message is one frame of bytes over a socket
pair; what it means is for the two sides to agree. A worker ends when its socket closes, which the system does
even if the chat is killed.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import Any

__all__ = ["Restarts", "Worker", "WorkerFailed", "program"]

_END_S = 5.0
# Chroma also reads settings from the environment; those meant for another program must not move or change our
# index. Only the credentials for a server are passed on.
_FOREIGN_PREFIX = "CHROMA_"
_FOREIGN = {"ALLOW_RESET", "ANONYMIZED_TELEMETRY", "IS_PERSISTENT", "MIGRATIONS", "PERSIST_DIRECTORY"}
_CREDENTIALS = ("CHROMA_CLIENT_AUTH_", "CHROMA_AUTH_TOKEN_", "CHROMA_SERVER_SSL_VERIFY")


class WorkerFailed(Exception):
    """The process ended, hung, or sent an invalid answer; the message says which."""


def program(file: str) -> tuple[str, ...]:
    """The command of a worker: as a script and with -P, so that no file of ours or of the current folder
    shadows a library's."""
    return sys.executable, "-P", "-W", "ignore", str(Path(file).resolve())


class Worker:
    """A running worker process. For one thread at a time; `alive` and `kill` may be used from any.

    Its output is discarded, since the screen belongs to the chat.

    Args:
        command: the program; the socket's descriptor and `arguments` are appended.
        silence_s: a worker that neither reads nor writes for so long in the middle of a message has hung.
        keep_open: descriptors that the worker inherits.
        most_bytes: longer answers are refused.

    Attributes:
        killed: `kill` was called, so its end is no failure.

    Raises (every method):
        WorkerFailed: it cannot be started, ended, or hung.
    """

    def __init__(
        self,
        command: Sequence[str],
        arguments: Sequence[str] = (),
        *,
        silence_s: float = 30.0,
        keep_open: Sequence[int] = (),
        most_bytes: int = 1 << 30,
    ) -> None:
        self.killed = False
        self._most_bytes = most_bytes
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise WorkerFailed(f"it cannot be started: {error}") from error
        with ours, theirs:
            limit = struct.pack("ll", int(silence_s), int(silence_s % 1 * 1e6))
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, option, limit)
            try:
                self._process = Popen(
                    [*command, str(theirs.fileno()), *arguments],
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    stderr=DEVNULL,
                    pass_fds=[theirs.fileno(), *keep_open],
                    cwd="/",  # Chroma reads the .env of the current folder
                    env={name: value for name, value in os.environ.items() if not _is_foreign(name.upper())},
                    # Shields it from Ctrl+C and Ctrl+Z. A new session would, too, but Linux may schedule by
                    # session first (autogroups), which would defeat its niceness.
                    process_group=0,
                )
            except OSError as error:
                raise WorkerFailed(f"it cannot be started: {error}") from error
            self._connection: Connection[Any, Any] = Connection(ours.detach())

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, message: bytes, timeout_s: float) -> bytes:
        """Send a request; returns the answer. See `receive`."""
        try:
            self._connection.send_bytes(message)
        except BlockingIOError as error:
            raise WorkerFailed("it did not read a request") from error
        except OSError as error:
            raise WorkerFailed(self.describe_end()) from error
        return self.receive(timeout_s)

    def receive(self, timeout_s: float) -> bytes:
        """The next message; a worker that does not begin it within `timeout_s` has hung."""
        try:
            if self._connection.poll(timeout_s):
                return self._connection.recv_bytes(self._most_bytes)
        except BlockingIOError as error:
            raise WorkerFailed("it stopped in the middle of an answer") from error
        except (EOFError, OSError) as error:
            # What recv_bytes raises for a message that is too long.
            if isinstance(error, OSError) and error.errno is None:
                raise WorkerFailed(f"its answer has more than {self._most_bytes:,} bytes") from error
            raise WorkerFailed(self.describe_end()) from error
        raise WorkerFailed(f"it did not answer within {timeout_s:g} s")

    def describe_end(self) -> str:
        """How the process ended."""
        self._wait(1.0)
        code = self._process.returncode
        if code is None:
            return "its connection broke"
        return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"

    def kill(self) -> None:
        """Kill the process; a pending request raises `WorkerFailed`."""
        self.killed = True
        self._process.kill()

    def close(self, grace_s: float = 0.0) -> None:
        """Release everything; not while another thread uses it.

        Args:
            grace_s: how long the worker may take to end by itself; then it is killed.
        """
        with suppress(OSError):
            self._connection.close()
        if grace_s:
            self._wait(grace_s)
        self._process.kill()
        self._wait(_END_S)

    def _wait(self, timeout_s: float) -> None:
        with suppress(TimeoutExpired):
            self._process.wait(timeout_s)


def _is_foreign(name: str) -> bool:
    if name.startswith(_CREDENTIALS):
        return False
    return name in _FOREIGN or name.startswith(_FOREIGN_PREFIX)


class Restarts:
    """A circuit breaker: a short delay after a failure, a long pause after several.

    Args:
        limit: how many failures within `window_s` trigger a pause.
        window_s: must exceed the time that `limit` starts take to time out, or those never trigger a pause.
        pause_s: length of a pause; one more failure within the window triggers the next.
        delay_s: before the second start; doubled before each further one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        limit: int = 3,
        window_s: float = 600.0,
        pause_s: float = 300.0,
        delay_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._pause_s = pause_s
        self._delay_s = delay_s
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=limit)
        self._paused_until = clock()

    @property
    def pause_left_s(self) -> float:
        """Seconds until the pause ends; 0 if there is none."""
        return max(0.0, self._paused_until - self._clock())

    def record_failure(self) -> float:
        """Record a failure; returns the seconds to wait before the next start."""
        now = self._clock()
        while self._failures and now - self._failures[0] > self._window_s:
            self._failures.popleft()
        self._failures.append(now)
        if len(self._failures) == self._limit:
            self._paused_until = now + self._pause_s
            return self._pause_s
        return self._delay_s * 2.0 ** (len(self._failures) - 1)
