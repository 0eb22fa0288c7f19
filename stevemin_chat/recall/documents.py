"""Documents as commands and screens show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stevemin_chat.text import count, listing

if TYPE_CHECKING:
    from memory import Document, DocumentsReport, Memory, Recall

__all__ = [
    "DOCUMENT_COLUMNS",
    "PASSAGE_COLUMNS",
    "document_row",
    "passage_json",
    "passage_rows",
    "report_words",
    "state_words",
]

DOCUMENT_COLUMNS = ("ID", "STATE", "PROJECT", "FILE")
PASSAGE_COLUMNS = ("PLACE", "SCORE", "TEXT")


def document_row(document: Document) -> tuple[str, ...]:
    """Cells for `DOCUMENT_COLUMNS`."""
    return (str(document.id), state_words(document), document.project or "all chats", document.path)


def state_words(document: Document) -> str:
    """How much of a document a search finds, or why it is left out."""
    passages = count(document.passages, "passage")
    if document.note is None:
        return passages
    return f"{document.note}; {passages} kept" if document.passages else document.note


def report_words(report: DocumentsReport) -> list[str]:
    """What adding or syncing did, in lines: the files, what was left out and why, what is gone."""
    parts = [
        f"{number:,} {word}"
        for number, word in (
            (report.added, "added"),
            (report.changed, "changed"),
            (report.removed, "removed"),
            (report.unchanged, "unchanged"),
        )
        if number
    ]
    lines = [f"Documents: {listing(parts)}." if parts else "No documents."]
    if report.left_out:
        reasons = [f"{number:,} {reason}" for reason, number in report.left_out.items()]
        lines.append(f"Left out: {listing(reasons)}.")
    lines += [f"Not found any more: {root}" for root in report.missing]
    if report.stopped:
        lines.append("Stopped; what was read is kept, and the next sync goes on.")
    return lines


def passage_rows(memory: Memory, recalls: Sequence[Recall]) -> list[tuple[str, ...]]:
    """Cells for `PASSAGE_COLUMNS`: a document's file and lines, or the title of a chat."""
    titles = {record.id: record.title for record in memory.sessions()}
    return [
        (
            recall.place or titles.get(recall.session_id, ""),
            f"{recall.score:.1f}",
            " ".join(recall.text.split()),
        )
        for recall in recalls
    ]


def passage_json(recall: Recall) -> dict[str, Any]:
    """A hit as plain values; of a message, `message` and `session` are set instead of `file`."""
    return {
        "id": recall.passage_id,
        "place": recall.place or None,
        "file": recall.file,
        "first_line": recall.first_line,
        "last_line": recall.last_line,
        "message": recall.message_id or None,
        "session": recall.session_id or None,
        "role": recall.role,
        "score": recall.score,
        "text": recall.text,
    }
