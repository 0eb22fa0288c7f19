"""`stevemin memory`: what the person decides about it: forget, take out a copy, switch it off."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stevemin_chat.base import InputFileError
from stevemin_chat.cli.output import confirm, note, print_json, print_table, progress_line

if TYPE_CHECKING:
    from memory import Memory, SessionRecord

__all__ = ["export", "forget", "off", "on", "stats"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Session = Annotated[str | None, typer.Argument(help="Id or title of a chat; without it, everywhere.")]


def forget(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Facts by number, messages by id or its start."),
    ] = None,
    containing: Annotated[
        str | None,
        typer.Option("--containing", metavar="TEXT", help="All messages and facts with this text in them."),
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", "-s", help="--containing in this chat only, by id or title.")
    ] = None,
    source: Annotated[
        bool, typer.Option("--source", help="Forget the messages that the facts come from, too.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Forget facts and messages, for good. With replies, and with all that was made of them."""
    from stevemin_chat.recall import choose, forgotten_words, installed_embedder_or_none, open_memory

    with open_memory(installed_embedder_or_none()) as memory:
        chosen = choose(memory, ids or [], containing=containing, session=session, source=source)
        if chosen:
            confirm(chosen.question, yes=yes, details=chosen.lines())
        with progress_line("Forgetting") as line:
            line.show("writing anew what stays")  # a vector index takes seconds
            gone = chosen.forget(memory)
    if as_json:
        print_json({name: value for name, value in asdict(gone).items() if name != "sessions"})
    else:
        note(forgotten_words(gone))


def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file that only you may read, instead of stdout.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Overwrite the file without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --output: print JSON.")] = False,
) -> None:
    """Everything in long-term memory as one JSON document."""
    from stevemin_chat.base import write_private
    from stevemin_chat.recall import counted, open_memory

    if output is not None and output.exists():
        if not output.is_file():
            raise InputFileError(f"{output} is not a file that can be overwritten.")
        confirm(f"Overwrite {output}?", yes=yes)
    with open_memory() as memory:
        document = memory.long_term.export()
    if output is None:
        print_json(document)
        return
    write_private(output, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    counts = {name: len(document[name]) for name in ("facts", "summaries", "messages")}
    if as_json:
        print_json({"path": str(output), **counts})
    else:
        told = counted(fact=counts["facts"], summary=counts["summaries"], message=counts["messages"])
        note(f"Exported to {output}: {told or 'an empty memory'}.")


def stats(as_json: Json = False) -> None:
    """How much is remembered, and what it takes on disk."""
    from stevemin_chat.recall import open_memory, stats_rows

    with open_memory() as memory:
        found = memory.long_term.stats()
    if as_json:
        print_json(found.to_json())
    else:
        print_table(("LONG-TERM MEMORY", "on" if found.remembering else "off"), stats_rows(found))


def off(session: Session = None, yes: Yes = False, as_json: Json = False) -> None:
    """Stop remembering, everywhere or one chat. Of that, what is there is taken out; the chat stays."""
    from stevemin_chat.recall import fact_entries, installed_embedder_or_none, open_memory

    with open_memory(installed_embedder_or_none() if session is not None else None) as memory:
        if session is None:
            memory.long_term.switch(False)
            _tell(memory, None, as_json)
            return
        record = memory.session(session)
        own = [
            entry.fact for entry in fact_entries(memory) if entry.session and entry.session.id == record.id
        ]
        if lost := [fact for fact in own if fact.pinned or fact.edited]:
            confirm(
                f"Take {record.title!r} off the record? Facts that you pinned or edited go for good.",
                yes=yes,
                details=[f"  fact {fact.id}: {fact.text}" for fact in lost],
            )
        _tell(memory, memory.set_session(record.id, off_record=True), as_json)


def on(session: Session = None, as_json: Json = False) -> None:
    """Remember again, everywhere or one chat. Of that, all that was said in it is remembered."""
    from stevemin_chat.recall import open_memory

    with open_memory() as memory:
        if session is None:
            memory.long_term.switch(True)
            _tell(memory, None, as_json)
            if not memory.long_term.remembering:
                note("The settings keep it off: enabled = false under [memory].")
            return
        _tell(memory, memory.set_session(memory.session(session).id, off_record=False), as_json)


def _tell(memory: Memory, session: SessionRecord | None, as_json: bool) -> None:
    from stevemin_chat.recall import switched_in_words

    remembering = memory.long_term.remembering
    if not as_json:
        note(switched_in_words(session, remembering))
    elif session is None:
        print_json({"id": None, "remembering": remembering})
    else:
        print_json({"id": session.id, "remembering": remembering and not session.off_record})
