"""Documents as the user manages them: files whose text is searched and quoted beside what was said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from memory.components import Components
from memory.reports import DocumentsReport
from memory.types import Document

__all__ = ["MemoryDocuments"]


class MemoryDocuments:
    """The files that were added, and their passages.

    Every method may be called from any thread and blocks; adding and syncing take turns. Documents make no
    facts and no summaries.

    Args:
        clear_traces: see `LongTermMemory.clear_traces`.
    """

    def __init__(self, components: Components, clear_traces: Callable[[Sequence[int]], bool]) -> None:
        self._sync = components.documents
        self._wake = components.vectors.wake
        self._clear_traces = clear_traces
        self._turn = Lock()

    def add(
        self,
        paths: Sequence[str | Path],
        *,
        project: str | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> DocumentsReport:
        """Add files, folders and patterns ("notes/**/*.md"), and read them.

        Hidden and ignored files, binaries and files over a limit are left out; the report counts them.

        Args:
            project: the folder whose chats may see them; None: all chats.
            progress: called with how many files are done, and how many there are.
            stopped: polled while it works; once true, it ends within a file and keeps what is done.

        Raises:
            DocumentNotFound: before anything was changed.
        """
        with self._turn:
            report, gone = self._sync.add(paths, project, progress, stopped)
            return self._settled(report, gone)

    def sync(
        self,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> DocumentsReport:
        """Read new and changed files again, and remove what is gone; see `add` for the arguments."""
        with self._turn:
            report, gone = self._sync.sync(progress, stopped)
            return self._settled(report, gone)

    def list(self) -> tuple[Document, ...]:
        """All documents by path, with those that are left out by their content."""
        return tuple(self._sync.all())

    def find(self, wanted: str) -> tuple[Document, ...]:
        """What `remove` would remove. Raises `DocumentNotFound`."""
        return tuple(self._sync.find(wanted))

    def remove(self, wanted: str) -> tuple[Document, ...]:
        """Remove what was added, a folder in it, or one document; the files stay.

        A file in an added folder stays out until it is added itself.

        Args:
            wanted: a path, or the number of a document.

        Raises:
            DocumentNotFound.
        """
        with self._turn:
            chosen, gone = self._sync.remove(wanted)
            if gone:
                self._clear_traces(gone)
            return tuple(chosen)

    def _settled(self, report: DocumentsReport, gone: Sequence[int]) -> DocumentsReport:
        if gone:
            self._clear_traces(gone)
        self._wake()
        return report
