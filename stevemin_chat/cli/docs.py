"""`stevemin docs`: files that chats may quote: add them, list them, keep them in step, search them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from stevemin_chat.base import UsageProblem
from stevemin_chat.cli.memory import searched
from stevemin_chat.cli.options import Json, Meaning, Query, Results, Yes
from stevemin_chat.cli.output import confirm, note, print_json, print_table, progress_line

if TYPE_CHECKING:
    from types import FrameType

    from memory import DocumentsReport, Memory

__all__ = ["app"]

app = typer.Typer(help="Documents: files that chats may quote. Add them, list them, search them.")

Update = Callable[["Memory", Callable[[int, int], None], Callable[[], bool]], "DocumentsReport"]


@app.command()
def add(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help='Files, folders, or patterns ("notes/**/*.md").')
    ],
    project: Annotated[
        bool, typer.Option("--project", help="Only for chats of the project around the current folder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add files and read them: text, Markdown, HTML, PDF, source code.

    Hidden files, what .gitignore names, binaries and files over 2 MiB are left out.
    """
    from stevemin_chat.base import project_folder

    folder = project_folder() if project else None
    if project and folder is None:
        raise UsageProblem("The current folder belongs to no project; leave out --project.")
    if not all(path.strip() for path in paths):
        raise UsageProblem("A path is empty.")
    _update(
        "Reading documents",
        lambda memory, progress, stopped: memory.documents.add(
            paths, project=folder, progress=progress, stopped=stopped
        ),
        as_json,
    )


@app.command()
def sync(as_json: Json = False) -> None:
    """Read new and changed files again, and drop what is gone."""
    _update(
        "Syncing documents",
        lambda memory, progress, stopped: memory.documents.sync(progress=progress, stopped=stopped),
        as_json,
    )


def _update(label: str, update: Update, as_json: bool) -> None:
    from stevemin_chat.notices import EXIT_INTERRUPTED
    from stevemin_chat.recall import open_memory, report_words

    # The embedder is not started: with it, vectors of passages that are gone can be deleted.
    with (
        open_memory(meaning=True) as memory,
        _interruptible() as stopping,
        progress_line(label) as line,
    ):
        report = update(
            memory, lambda done, total: line.show(f"{done:,} of {total:,} files"), stopping.is_set
        )
    if as_json:
        print_json(report.to_json())
    else:
        for words in report_words(report):
            note(words)
    if report.stopped:
        raise typer.Exit(EXIT_INTERRUPTED)


@contextmanager
def _interruptible() -> Iterator[Event]:
    """Ctrl-C ends the work after the file at hand; pressed again, it ends the command."""
    stopping = Event()

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stopping.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)


@app.command("list")
def list_documents(as_json: Json = False) -> None:
    """List the documents, with those that are left out by what they hold."""
    from stevemin_chat.recall import DOCUMENT_COLUMNS, document_row, open_memory

    with open_memory() as memory:
        found = memory.documents.list()
    if as_json:
        print_json([document.to_json() for document in found])
    elif found:
        print_table(DOCUMENT_COLUMNS, [document_row(item) for item in found], shorten={"FILE": 1})
    else:
        note("No documents. Add some: stevemin docs add PATH")


@app.command()
def remove(
    wanted: Annotated[str, typer.Argument(metavar="PATH", help="What was added, a file of it, or an id.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove documents from the memory; the files stay."""
    from stevemin_chat.recall import open_memory
    from stevemin_chat.text import count

    with open_memory(meaning=True) as memory:
        chosen = memory.documents.find(wanted)
        if len(chosen) > 1:
            question = f"Remove {count(len(chosen), 'document')} from the memory? The files stay."
            confirm(question, yes=yes)
        gone = memory.documents.remove(wanted)
    if as_json:
        print_json([document.to_json() for document in gone])
    else:
        note(f"Removed {count(len(gone), 'document')}; the files stay where they are.")


@app.command()
def search(
    query: Query,
    limit: Results = 10,
    chats: Annotated[bool, typer.Option("--chats", help="Also what was said in all chats.")] = False,
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", metavar="CHAT", help="Search only what this chat may see."),
    ] = None,
    meaning: Meaning = False,
    as_json: Json = False,
) -> None:
    """Search the documents; each result names its file and lines."""
    from stevemin_chat.recall import PASSAGE_COLUMNS, passage_json, passage_rows

    with searched(query, session, meaning=meaning) as (memory, scope):
        found = memory.search(query, limit=limit, session_id=scope, sources="all" if chats else "documents")
        rows = passage_rows(memory, found)
    if as_json:
        print_json([passage_json(recall) for recall in found])
    elif rows:
        print_table(PASSAGE_COLUMNS, rows, shorten={"PLACE": 1, "TEXT": 2})
    else:
        note("Nothing was found.")
