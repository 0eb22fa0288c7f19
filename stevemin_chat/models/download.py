"""Downloads one file: resumes it, hashes it while it arrives, and puts it in place only when it is right."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import io
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stevemin_chat.base import DiskTooSmall, HashMismatch, HubError, HubRefused, HubUnreachable
from stevemin_chat.models.hub import Listing, RemoteFile
from stevemin_chat.text import duration, percent, size

__all__ = [
    "DownloadMeter",
    "Progress",
    "fetch",
    "partial_files",
    "remaining_bytes",
]


Progress = Callable[[str, int, int], None]
"""Called with a file's name, its bytes that have arrived, and its size."""

_TRIES = 5  # in a row without a new byte
_WAIT_S = 1.0  # before the second try; doubles
_READ_BYTES = 1 << 20

_log = logging.getLogger("stevemin.download")


def fetch(
    listing: Listing,
    file: RemoteFile,
    target: Path,
    *,
    sha256: str | None = None,
    on_progress: Progress | None = None,
) -> bool:
    """Download `file` to `target`; False if it is there already. Blocking; an interruption loses nothing.

    Args:
        sha256: the hash that the content must have, besides the hub's own.

    Raises:
        HubUnreachable, HubRefused: the hub fails, or sends more than it announced; then the part is deleted.
        HashMismatch: the content is damaged, or not the file that the catalogue means; it is deleted.
        DiskTooSmall: the disk is full.
        HubError: another process is downloading the same file.
    """
    expected = {digest for digest in (file.sha256, sha256) if digest}
    if target.is_file() and target.stat().st_size == file.size and _is_whole(target, expected):
        return False
    part = _part_path(file, target)
    with _exclusive(part) as stream:
        try:
            digest = _Transfer(listing, file, stream, on_progress).run()
        except _TooLong:
            part.unlink()
            raise
        except OSError as error:
            raise _disk_full(error, file, stream) from error
        if expected - {digest}:
            part.unlink()
            raise HashMismatch(
                f"{file.path} arrived damaged: its SHA-256 is {digest}, not {min(expected - {digest})}. "
                "It was deleted; run the same command again."
            )
        os.fsync(stream.fileno())
        part.replace(target)
    return True


def remaining_bytes(file: RemoteFile, target: Path) -> int:
    """The bytes that are still to be downloaded."""
    if target.is_file() and target.stat().st_size == file.size:
        return 0
    part = _part_path(file, target)
    return max(0, file.size - (part.stat().st_size if part.is_file() else 0))


def partial_files(target: Path) -> list[Path]:
    """Unfinished downloads of a file."""
    return sorted(target.parent.glob(f"{glob.escape(target.name)}.*.part"))


class _TooLong(HubRefused):
    """The hub sends more bytes than it announced."""


class _Transfer:
    """Appends the rest of a file to its partial one; retries when the connection breaks."""

    def __init__(
        self, listing: Listing, file: RemoteFile, stream: io.FileIO, on_progress: Progress | None
    ) -> None:
        self._listing, self._file, self._stream = listing, file, stream
        self._on_progress = on_progress or (lambda name, done, size: None)
        self._digest = hashlib.sha256()
        self._done = 0

    def run(self) -> str:
        """Read to the end; returns the SHA-256 of the whole content."""
        self._hash_partial()
        failures = 0
        while self._done < self._file.size:
            before = self._done
            try:
                self._read_rest()
                if self._done < self._file.size:
                    raise HubUnreachable(
                        f"The connection ended within {self._file.path}. Run the same command again."
                    )
            except HubUnreachable as error:
                failures = 1 if self._done > before else failures + 1
                if failures >= _TRIES:
                    raise
                _log.warning("%s at byte %d: %s", self._file.path, self._done, error)
                time.sleep(_WAIT_S * 2 ** (failures - 1))
        return self._digest.hexdigest()

    def _hash_partial(self) -> None:
        if os.fstat(self._stream.fileno()).st_size > self._file.size:
            self._start_over()
        while piece := self._stream.read(_READ_BYTES):
            self._count(piece)

    def _read_rest(self) -> None:
        with self._listing.open(self._file, self._done) as (start, pieces):
            if start != self._done:  # the hub ignored the range
                self._start_over()
            for piece in pieces:
                # The free space was checked against the announced size, and not every file has a hash.
                if self._done + len(piece) > self._file.size:
                    raise _TooLong(
                        f"{self._file.path} is longer than the {self._file.size} bytes that the hub "
                        "announced. The partial file was deleted."
                    )
                self._write(piece)
                self._count(piece)

    def _write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:  # an unbuffered file may take less than it is given
            rest = rest[self._stream.write(rest) :]

    def _count(self, piece: bytes) -> None:
        self._digest.update(piece)
        self._done += len(piece)
        self._on_progress(self._file.path, self._done, self._file.size)

    def _start_over(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._digest = hashlib.sha256()
        self._done = 0


def _part_path(file: RemoteFile, target: Path) -> Path:
    # Named after the content: the rest of a new version must never be appended to the start of an old one.
    return target.with_name(f"{target.name}.{(file.sha256 or str(file.size))[:12]}.part")


@contextmanager
def _exclusive(part: Path) -> Iterator[io.FileIO]:
    part.parent.mkdir(parents=True, exist_ok=True)
    # Unbuffered: every byte that was counted is written, whatever interrupts us. Never through a link: its
    # target is not ours.
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    with io.FileIO(descriptor, "a+b") as raw:
        try:
            fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HubError(f"Another process is downloading {part.name} now.") from None
        raw.seek(0)
        yield raw


def _is_whole(path: Path, expected: set[str]) -> bool:
    with path.open("rb") as stream:
        return not expected - {hashlib.file_digest(stream, "sha256").hexdigest()}


def _disk_full(error: OSError, file: RemoteFile, stream: io.FileIO) -> Exception:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    here = size(os.fstat(stream.fileno()).st_size)
    return DiskTooSmall(
        f"The disk is full after {here} of {file.path}. Free some space, then run the same command again to "
        "resume."
    )


_WINDOW_S = 5.0
_MIN_INTERVAL_S = 0.1  # between two lines
_BAR_CELLS = 20


class DownloadMeter:
    """Turns the progress of a download into lines with a bar, the speed and the time left.

    Args:
        show: gets a line, at most ten times a second.
    """

    def __init__(self, show: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._clock = clock
        self._points: deque[tuple[float, int]] = deque()
        self._file = ""
        self._shown_at = float("-inf")

    def update(self, file: str, done: int, total: int) -> None:
        """Record that `done` of `total` bytes of `file` have arrived."""
        now = self._clock()
        if file != self._file:
            self._file = file
            self._points.clear()
        self._points.append((now, done))
        while now - self._points[0][0] > _WINDOW_S:
            self._points.popleft()
        if now - self._shown_at >= _MIN_INTERVAL_S or done == total:
            self._shown_at = now
            self._show(self._line(done, total))

    def _line(self, done: int, total: int) -> str:
        share = done / total if total else 1.0
        full = int(share * _BAR_CELLS)
        (start, first), (end, last) = self._points[0], self._points[-1]
        bar = "#" * full + "." * (_BAR_CELLS - full)
        line = f"[{bar}] {percent(share):>4}  {size(done, total)}"
        if end > start and last > first:
            rate = (last - first) / (end - start)
            line += f"  {size(rate)}/s  {duration((total - done) / rate)} left"
        return line
