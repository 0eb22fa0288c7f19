"""Finds the files under what a user adds, and reads them. Nothing but regular files is ever opened."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from memory.text import Piece, pieces_of_pages, split_document, storable

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = [
    "MOST_BYTES",
    "NO_PDF",
    "UNREADABLE",
    "LeftOut",
    "Unreadable",
    "Walk",
    "base_of",
    "check_size",
    "pieces_in",
    "read_file",
    "walk",
]

MOST_BYTES = 2 << 20
_MOST_PDF_BYTES = 32 << 20
_MOST_PAGES = 2_000
_MAGIC = re.compile(r"[*?\[]")

HIDDEN = "hidden"
IGNORED = "ignored by .gitignore"
LINK = "a link"
SPECIAL = "not a regular file"
BINARY = "not text"
UNREADABLE = "cannot be read"
TOO_LARGE = f"over {MOST_BYTES >> 20} MiB"
_TOO_LARGE_PDF = f"a PDF over {_MOST_PDF_BYTES >> 20} MiB"
_DAMAGED = "not a readable PDF"
_SCANNED = "a PDF without text"
NO_PDF = "PDFs need the package pypdf"
_UNNAMED = "a name that is not text"


class LeftOut(Exception):
    """A file is no document; the message is the reason."""


class Unreadable(Exception):
    """A file cannot be read now; the message is the reason."""


@dataclass(slots=True)
class Walk:
    """What is under a root.

    Args:
        files: in order.
        left_out: how many files and folders were passed over, by reason.
        closed: folders that cannot be read; what was in them may still be there.
        missing: the root itself is gone.
        stopped: not everything was walked.
    """

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    closed: list[Path] = field(default_factory=list)
    missing: bool = False
    stopped: bool = False

    def leave_out(self, reason: str) -> None:
        """Count one more."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def walk(root: str, stopped: Callable[[], bool]) -> Walk:
    """Find the files under an absolute path: a file, a folder, or a pattern such as /home/me/notes/**/*.md.

    What is named itself is taken, also if it is hidden or ignored. Links in folders are not followed.
    """
    found, path = Walk(), Path(root)
    if path.is_file():
        found.files.append(path)
    elif path.is_dir():
        _Walker(found, stopped).folder(path, _ignores_above(path))
    elif os.path.lexists(path):
        found.leave_out(SPECIAL)
    elif _MAGIC.search(root) and (base := base_of(root)).is_dir():
        from pathspec import GitIgnoreSpec

        _Walker(found, stopped).folder(base, _ignores_above(base))
        pattern = GitIgnoreSpec.from_lines([f"/{Path(root).relative_to(base).as_posix()}"])
        found.files = [each for each in found.files if pattern.match_file(each.relative_to(base).as_posix())]
    else:
        found.missing = True
    return found


def base_of(root: str) -> Path:
    """The folder that relative names of a root's files start from: of a pattern, what precedes its first
    wildcard."""
    path = Path(root)
    if path.exists() or not _MAGIC.search(root):
        return path
    parts = path.parts
    fixed = next(place for place, part in enumerate(parts) if _MAGIC.search(part))
    return Path(*parts[:fixed])


@dataclass(frozen=True, slots=True)
class _Ignores:
    """The patterns of one .gitignore file."""

    folder: Path
    spec: GitIgnoreSpec

    def verdict(self, path: Path, is_folder: bool) -> bool | None:
        """Whether it ignores a path; None if it says nothing about it."""
        name = path.relative_to(self.folder).as_posix()
        return self.spec.check_file(f"{name}/" if is_folder else name).include


class _Walker:
    def __init__(self, found: Walk, stopped: Callable[[], bool]) -> None:
        self._found = found
        self._stopped = stopped

    def folder(self, folder: Path, ignores: Sequence[_Ignores]) -> None:
        """Collect what is in a folder, in the order of names."""
        pending = [(folder, ignores)]
        while pending:
            if self._stopped():
                self._found.stopped = True
                return
            current, above = pending.pop()
            try:
                with os.scandir(current) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError:
                self._found.closed.append(current)
                self._found.leave_out(UNREADABLE)
                continue
            rules = [*above, *_ignores_in(current)]
            folders = [path for entry in entries if (path := self._look(entry, rules))]
            pending.extend((path, rules) for path in reversed(folders))

    def _look(self, entry: os.DirEntry[str], rules: Sequence[_Ignores]) -> Path | None:
        """Take a file, or return a folder to look into."""
        path = Path(entry.path)
        try:
            is_folder, is_file = entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
            linked = entry.is_symlink()
        except OSError:
            self._found.leave_out(UNREADABLE)
            return None
        if entry.name.startswith("."):
            self._found.leave_out(HIDDEN)
        elif _ignored(path, is_folder, rules):
            self._found.leave_out(IGNORED)
        elif linked:
            self._found.leave_out(LINK)
        elif not _is_text(entry.path):
            self._found.leave_out(_UNNAMED)
        elif is_file:
            self._found.files.append(path)
        elif is_folder:
            return path
        else:
            self._found.leave_out(SPECIAL)
        return None


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ignored(path: Path, is_folder: bool, rules: Sequence[_Ignores]) -> bool:
    """The nearest .gitignore that says anything decides."""
    verdicts = (each.verdict(path, is_folder) for each in reversed(rules))
    return next((verdict for verdict in verdicts if verdict is not None), False)


def _ignores_in(folder: Path) -> Iterator[_Ignores]:
    from pathspec import GitIgnoreSpec

    try:
        # Not a pipe or a device, which would block.
        if not stat.S_ISREG((folder / ".gitignore").stat().st_mode):
            return
        lines = (folder / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:  # git takes a pattern that makes no sense for none
            lines = [each for each in lines if each != line]
    yield _Ignores(folder, GitIgnoreSpec.from_lines(lines))


def _ignores_above(folder: Path) -> list[_Ignores]:
    """Of the folders above, up to that of the repository; none outside a repository, or if they ignore the
    folder itself, which the user wants nevertheless."""
    if (folder / ".git").exists():
        return []
    above = list(folder.parents)
    top = next((place for place, each in enumerate(above) if (each / ".git").exists()), None)
    if top is None:
        return []
    rules = [found for each in reversed(above[: top + 1]) for found in _ignores_in(each)]
    ways = [folder, *above[:top]]
    return [] if any(_ignored(way, True, rules) for way in ways) else rules


def read_file(path: Path) -> tuple[os.stat_result, bytes]:
    """The content of a regular file.

    Raises:
        FileNotFoundError: it is gone.
        LeftOut: it is not a regular file, or too large.
        Unreadable: the system does not let us.
    """
    try:
        # Opening a pipe would wait for its writer, were it put there after the walk.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise LeftOut(SPECIAL)
            check_size(path, about.st_size)
            data = file.read(about.st_size + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(f"{UNREADABLE}: {(error.strerror or 'input/output error').lower()}") from error
    check_size(path, len(data))
    return about, data


def check_size(path: Path, size: int) -> None:
    """Raises `LeftOut` for a file that is too large."""
    if size > (_MOST_PDF_BYTES if _is_pdf(path) else MOST_BYTES):
        raise LeftOut(_TOO_LARGE_PDF if _is_pdf(path) else TOO_LARGE)


def pieces_in(path: Path, data: bytes, stopped: Callable[[], bool]) -> list[Piece]:
    """The passages of a file's content. Raises `LeftOut` if it is no text."""
    if _is_pdf(path):
        return _pieces_of_pdf(data, stopped)
    if b"\0" in data:
        raise LeftOut(BINARY)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LeftOut(BINARY) from None
    return split_document(text, path.suffix)


def _is_pdf(path: Path) -> bool:
    return path.suffix.lower() == ".pdf"


def _pieces_of_pdf(data: bytes, stopped: Callable[[], bool]) -> list[Piece]:
    try:
        from pypdf import PdfReader
    except ImportError:
        raise LeftOut(NO_PDF) from None
    import io

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it has a word for each flaw of a file
    texts: list[str] = []
    try:
        for page in PdfReader(io.BytesIO(data)).pages:
            if stopped() or len(texts) == _MOST_PAGES:
                break
            texts.append(storable(page.extract_text()))
    except Exception as error:  # whatever a damaged file makes of the library
        raise LeftOut(_DAMAGED) from error
    pieces = list(pieces_of_pages(texts))
    if not pieces and not stopped():
        raise LeftOut(_SCANNED)
    return pieces
