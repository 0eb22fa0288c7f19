"""Documents: files that the user adds, split into passages and kept in step with the disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from memory.errors import DocumentNotFound, KeywordIndexDamaged
from memory.ingest.files import (
    NO_PDF,
    UNREADABLE,
    LeftOut,
    Unreadable,
    Walk,
    base_of,
    check_size,
    pieces_in,
    read_file,
    walk,
)
from memory.reports import DocumentsReport
from memory.storage import Database, Documents, KnownFile, Passages, Settings
from memory.text import Piece
from memory.types import Document

__all__ = ["DocumentSync"]

P = ParamSpec("P")
T = TypeVar("T")
Progress = Callable[[int, int], None]

_BATCH_FILES, _BATCH_PASSAGES = 50, 500  # what one transaction stores at most, but for a single large file
_ANALYSED = 100  # passages at a time, as `Analysis` does


@dataclass(frozen=True, slots=True)
class _Read:
    """A file as it is now; `pieces` is None if its passages stay."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str | None = None
    note: str | None = None
    pieces: Sequence[Piece] | None = ()
    known: KnownFile | None = None


@dataclass(slots=True)
class _Tally:
    """What became of the files so far."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stopped: bool = False

    def leave_out(self, reason: str, number: int = 1) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + number

    def report(self) -> DocumentsReport:
        return DocumentsReport(
            added=self.added,
            changed=self.changed,
            unchanged=self.unchanged,
            removed=self.removed,
            left_out=dict(sorted(self.left_out.items())),
            missing=tuple(self.missing),
            stopped=self.stopped,
        )


class DocumentSync:
    """Adds documents and keeps them in step. Any thread; blocks. One call at a time.

    Removing deletes rows only; the caller then clears what they left behind, as for messages.
    """

    def __init__(
        self,
        database: Database,
        *,
        documents: Documents,
        passages: Passages,
        settings: Settings,
        repair: Callable[[], None],
    ) -> None:
        """
        Args:
            repair: replaces a damaged keyword index; on the database's thread.
        """
        self._database = database
        self._documents = documents
        self._passages = passages
        self._settings = settings
        self._repair = repair

    def add(
        self,
        paths: Sequence[str | Path],
        project: str | None,
        progress: Progress,
        stopped: Callable[[], bool],
    ) -> tuple[DocumentsReport, list[int]]:
        """See `MemoryDocuments.add`; also returns the ids of the passages that are gone."""
        roots = [_root(path) for path in paths]  # before anything is changed
        numbers = [(self._call(self._documents.add_root, root, project), root) for root in roots]
        return self._update(numbers, progress, stopped, adding=True)

    def sync(self, progress: Progress, stopped: Callable[[], bool]) -> tuple[DocumentsReport, list[int]]:
        """See `MemoryDocuments.sync`; also returns the ids of the passages that are gone."""
        return self._update(self._call(self._documents.roots), progress, stopped, adding=False)

    def all(self) -> list[Document]:
        """See `MemoryDocuments.list`."""
        return self._call(self._documents.all)

    def find(self, wanted: str) -> list[Document]:
        """See `MemoryDocuments.find`."""
        return self._call(self._find, wanted)

    def remove(self, wanted: str) -> tuple[list[Document], list[int]]:
        """See `MemoryDocuments.remove`; also returns the ids of the passages that are gone."""
        return self._call(self._remove, wanted)

    def _update(
        self,
        roots: Sequence[tuple[int, str]],
        progress: Progress,
        stopped: Callable[[], bool],
        *,
        adding: bool,
    ) -> tuple[DocumentsReport, list[int]]:
        tally = _Tally()
        walks = []
        for number, root in roots:
            if stopped():
                break
            walks.append((number, root, walk(root, stopped)))
        total, done = sum(len(found.files) for _, _, found in walks), 0
        for number, root, found in walks:
            run = _Run(self, number, root, tally, adding, stopped)
            for path in found.files:
                if stopped():
                    break
                progress(done, total)
                run.take(path)
                done += 1
            run.flush()
            for reason, count in found.left_out.items():
                tally.leave_out(reason, count)
            if found.missing:
                tally.missing.append(root)
            if not stopped() and not found.stopped:
                self._drop_vanished(number, found, tally)
        tally.stopped = stopped()
        if not tally.stopped:
            progress(total, total)
        return tally.report(), tally.gone

    def _drop_vanished(self, root_id: int, found: Walk, tally: _Tally) -> None:
        """Remove the documents whose files are gone, unless their folder could not be read."""
        present = {str(path) for path in found.files}
        vanished = []
        for path, number in self._call(self._documents.of_root, root_id).items():
            if path in present:
                continue
            if any(folder in Path(path).parents for folder in found.closed):
                self._call(self._documents.note, number, "its folder cannot be read")
            else:
                vanished.append(number)
        if vanished:
            tally.gone += self._call(self._deleted, self._documents.remove, vanished)
            tally.removed += len(vanished)

    def known(self, path: str) -> KnownFile | None:
        """What was recorded of a file."""
        return self._call(self._documents.known, path)

    def store(self, root_id: int, batch: Sequence[tuple[_Read, str]]) -> list[int]:
        """Store files with their shown names in one transaction, then index their words."""
        gone = self._call(self._store, root_id, batch)
        while self._call(self._passages.analyse_some, _ANALYSED):
            pass
        return gone

    def _call(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on the database's thread; again if the keyword index had to be replaced."""
        try:
            return self._database.call(work, *args, **kwargs)
        except KeywordIndexDamaged:
            self._database.call(self._repair)
            return self._database.call(work, *args, **kwargs)

    # The rest runs on the database's thread.

    def _store(self, root_id: int, batch: Sequence[tuple[_Read, str]]) -> list[int]:
        gone: list[int] = []
        with self._database.atomic():
            if not any(number == root_id for number, _ in self._documents.roots()):
                return gone  # another process removed it meanwhile
            for item, name in batch:
                if item.pieces is None and item.known is not None:
                    self._documents.claim(item.known.id, root_id, name, item.mtime_ns)
                    self._documents.note(item.known.id, item.note)
                    continue
                number = self._documents.put(
                    root_id,
                    str(item.path),
                    name,
                    size=item.size,
                    mtime_ns=item.mtime_ns,
                    sha256=item.sha256,
                    note=item.note,
                )
                gone += self._passages.replace_document(number, item.pieces or ())
            if gone:
                self._settings.request_purge()
        return gone

    def _deleted(self, delete: Callable[[Sequence[int]], list[int]], ids: Sequence[int]) -> list[int]:
        with self._database.atomic():
            gone = delete(ids)
            if gone:
                self._settings.request_purge()
        return gone

    def _find(self, wanted: str) -> list[Document]:
        documents, path = self._documents.all(), _absolute(wanted)
        chosen = [item for item in documents if item.root == str(path)]
        if chosen or any(root == str(path) for _, root in self._documents.roots()):
            return chosen
        chosen = [item for item in documents if path in (Path(item.path), *Path(item.path).parents)]
        if not chosen and wanted.isascii() and wanted.isdigit():
            chosen = [item for item in documents if item.id == int(wanted)]
        if not chosen:
            raise DocumentNotFound(f"No document {wanted!r}.")
        return chosen

    def _remove(self, wanted: str) -> tuple[list[Document], list[int]]:
        chosen, path = self._find(wanted), str(_absolute(wanted))
        # What the user added goes as a whole; of a folder that stays, files are kept out from now on.
        whole = {path, *(item.root for item in chosen if item.path == item.root)}
        gone: list[int] = []
        with self._database.atomic():
            for number, root in self._documents.roots():
                if root in whole:
                    gone += self._documents.remove_root(number)
            gone += self._documents.exclude([item.id for item in chosen if item.root not in whole])
            if gone:
                self._settings.request_purge()
        return chosen, gone


class _Run:
    """Brings the files of one root up to date, in batches."""

    def __init__(
        self,
        sync: DocumentSync,
        root_id: int,
        root: str,
        tally: _Tally,
        adding: bool,
        stopped: Callable[[], bool],
    ) -> None:
        self._sync = sync
        self._root_id = root_id
        self._tally = tally
        self._adding = adding
        self._stopped = stopped
        self._base = base_of(root)
        self._batch: list[tuple[_Read, str]] = []

    def take(self, path: Path) -> None:
        """Look at one file, and read it if it may have changed."""
        known = self._sync.known(str(path))
        if known is not None and not self._adding and (known.excluded or known.root_id != self._root_id):
            return
        try:
            item = self._read(path, known)
        except FileNotFoundError:  # since the walk: the next sync finds it gone
            return
        except Unreadable as trouble:
            self._tally.leave_out(UNREADABLE)
            item = self._kept(path, known, str(trouble))
        if self._stopped():
            return  # a PDF may have been cut short
        if item is None:
            if known is not None and known.note is not None:
                self._tally.leave_out(known.note)
            else:
                self._tally.unchanged += 1
            return
        self._batch.append((item, _name(path, self._base)))
        passages = sum(len(each.pieces or ()) for each, _ in self._batch)
        if len(self._batch) >= _BATCH_FILES or passages >= _BATCH_PASSAGES:
            self.flush()

    def flush(self) -> None:
        """Store what was read."""
        if self._batch:
            batch, self._batch = self._batch, []
            self._tally.gone += self._sync.store(self._root_id, batch)
            for item, _ in batch:
                if item.sha256 is None:
                    continue
                if item.pieces is None:
                    self._tally.unchanged += 1
                elif item.known is None or item.known.sha256 is None:
                    self._tally.added += 1
                else:
                    self._tally.changed += 1

    def _read(self, path: Path, known: KnownFile | None) -> _Read | None:
        """The file as it is now; None if nothing about it has changed."""
        about = path.stat()
        if known is not None and self._is_settled(known, about):
            return None
        digest = None
        try:
            check_size(path, about.st_size)
            about, data = read_file(path)
            digest = hashlib.sha256(data).hexdigest()
            if known is not None and known.sha256 == digest:
                return _Read(path, len(data), about.st_mtime_ns, digest, pieces=None, known=known)
            pieces = pieces_in(path, data, self._stopped)
        except LeftOut as reason:
            self._tally.leave_out(str(reason))
            return _Read(path, about.st_size, about.st_mtime_ns, note=str(reason), known=known)
        return _Read(path, len(data), about.st_mtime_ns, digest, pieces=pieces, known=known)

    def _is_settled(self, known: KnownFile, about: os.stat_result) -> bool:
        """Whether a file is as it was when it was read, or left out for good."""
        if (about.st_size, about.st_mtime_ns) != (known.bytes, known.mtime_ns):
            return False
        if known.root_id != self._root_id or known.excluded:
            return False
        return (known.sha256 is None) != (known.note is None) and known.note != NO_PDF

    def _kept(self, path: Path, known: KnownFile | None, note: str) -> _Read:
        """A file that cannot be read now: what is known of it stays."""
        if known is None:
            return _Read(path, 0, 0, note=note)
        return _Read(path, known.bytes, known.mtime_ns, note=note, pieces=None, known=known)


def _name(path: Path, base: Path) -> str:
    """How a file is shown: from the folder that was added on, or the file's name alone."""
    return path.name if path == base else os.path.join(base.name, path.relative_to(base))


def _absolute(path: str | Path) -> Path:
    """As it is typed, with links resolved where it exists."""
    typed = Path(path).expanduser()
    return typed.resolve() if typed.exists() else Path(os.path.abspath(typed))


def _root(path: str | Path) -> str:
    """What is recorded of a path that a user adds. Raises `DocumentNotFound`."""
    absolute = _absolute(path)
    try:
        str(absolute).encode()
    except UnicodeEncodeError:
        raise DocumentNotFound(f"The name {str(path)!a} is not text.") from None
    root = str(absolute)
    if not (os.path.lexists(root) or (base_of(root) != absolute and base_of(root).is_dir())):
        raise DocumentNotFound(f"No file or folder {str(path)!r}.")
    return root
