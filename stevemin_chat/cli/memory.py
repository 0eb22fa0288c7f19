"""`stevemin memory`: what is remembered across chats: look at it, correct it, forget it, switch it off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stevemin_chat.base import InputFileError, UsageProblem
from stevemin_chat.cli.options import Json, Meaning, ModelOption, Query, Results, Yes, piped_input
from stevemin_chat.cli.output import (
    confirm,
    json_text,
    note,
    print_json,
    print_lines,
    print_table,
    progress_line,
)

if TYPE_CHECKING:
    from memory import Memory, SessionRecord

__all__ = ["app", "searched"]

app = typer.Typer(help="Long-term memory: look at it, correct it, forget, switch it off.")

_SHARES = {"CHAT": 1, "TEXT": 3}
_ERASE_WAIT_S = 5.0
_MOST_BYTES = 1 << 30  # of an export, which has a kilobyte for each message


class Kind(StrEnum):
    """`memory.FactKind` as an option."""

    FACT = "fact"
    PREFERENCE = "preference"
    TOOL = "tool"
    VERSION = "version"
    MACHINE = "machine"
    PROJECT = "project"
    DECISION = "decision"
    DEADLINE = "deadline"


FactId = Annotated[int, typer.Argument(metavar="ID", help="Number of a fact.")]
FactIds = Annotated[list[int], typer.Argument(metavar="ID", help="Numbers of facts.")]
Text = Annotated[str, typer.Argument(help="One line.")]
ChatOrAll = Annotated[
    str | None, typer.Argument(metavar="CHAT", help="Id or title of a chat; without it, all chats.")
]


# Look at it


@app.command("list")
def list_facts(
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only facts of this kind.")] = None,
    pinned: Annotated[bool, typer.Option("--pinned", help="Only pinned facts.")] = False,
    as_json: Json = False,
) -> None:
    """List your profile: pinned facts first, then the newest."""
    from stevemin_chat.recall import FACT_COLUMNS, fact_entries, open_memory, why_nothing_is_listed

    with open_memory() as memory:
        everything = fact_entries(memory)
        remembering = memory.long_term.remembering
    found = [entry for entry in everything if kind in (None, entry.fact.kind) and entry.fact.pinned >= pinned]
    if as_json:
        print_json([entry.to_json() for entry in found])
    elif found:
        print_table(FACT_COLUMNS, [entry.row() for entry in found], shorten=_SHARES)
    else:
        note(why_nothing_is_listed(len(everything), remembering))


@app.command()
def search(
    query: Query,
    limit: Results = 10,
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", metavar="CHAT", help="Search only what this chat may recall."),
    ] = None,
    meaning: Meaning = False,
    as_json: Json = False,
) -> None:
    """Search what was said in all chats, best match first."""
    from stevemin_chat.recall import HIT_COLUMNS, hit_entries

    with searched(query, session, meaning=meaning) as (memory, scope):
        found = hit_entries(memory, memory.search(query, limit=limit, session_id=scope, sources="chats"))
    if as_json:
        print_json([entry.to_json() for entry in found])
    elif found:
        print_table(HIT_COLUMNS, [entry.row() for entry in found], shorten=_SHARES)
    else:
        note("Nothing was found.")


@contextmanager
def searched(query: str, session: str | None, *, meaning: bool) -> Iterator[tuple[Memory, str | None]]:
    """The memory, ready for a search, and the id of the chat that the search is limited to.

    Waits, with progress, until search by meaning is ready, if it is wanted; says what is missing.
    """
    from stevemin_chat.recall import open_memory, wait_for_meaning

    if not query.strip():
        raise UsageProblem("Nothing to search for; give some words.")
    with open_memory(meaning=meaning) as memory:
        scope = memory.session(session).id if session is not None else None
        if meaning:
            with progress_line("Search by meaning") as line:
                missing = wait_for_meaning(memory, line.show)
            if missing:
                note(missing)
        yield memory, scope


@app.command()
def why(
    item: Annotated[
        str, typer.Argument(metavar="ID", help="A fact's number, or the start of a message's id.")
    ],
    as_json: Json = False,
) -> None:
    """Show where a fact comes from, or what was derived from a message."""
    from stevemin_chat.recall import open_memory, origin_as_json, origin_lines

    with open_memory() as memory:
        origin = memory.long_term.why(item)
    if as_json:
        print_json(origin_as_json(origin))
    else:
        print_lines(origin_lines(origin))


@app.command()
def check(model: ModelOption = None, as_json: Json = False) -> None:
    """Check on labelled messages whether a model may look for facts in what you say."""
    from stevemin_chat.cli.check import run_check

    run_check(model, as_json=as_json)


@app.command()
def stats(as_json: Json = False) -> None:
    """Show how much is remembered, and its size on disk."""
    from stevemin_chat.recall import open_memory, stats_rows

    with open_memory() as memory:
        found = memory.long_term.stats()
    if as_json:
        print_json(found.to_json())
    else:
        print_table(("LONG-TERM MEMORY", "on" if found.remembering else "off"), stats_rows(found))


@app.command()
def export(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a file that only you may read, instead of stdout."),
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Export long-term memory as one JSON document."""
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
    write_private(output, f"{json_text(document)}\n")
    facts, summaries, messages = (len(document[name]) for name in ("facts", "summaries", "messages"))
    if as_json:
        print_json({"path": str(output), "facts": facts, "summaries": summaries, "messages": messages})
    else:
        told = counted(fact=facts, summary=summaries, message=messages)
        note(f"Exported to {output}: {told or 'an empty memory'}.")


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `memory export` wrote; - reads stdin.")],
    as_json: Json = False,
) -> None:
    """Add what an export holds and the memory lacks: facts, summaries, messages and their chats."""
    from memory import InvalidImport, UnknownStrategy
    from stevemin_chat.recall import imported_words, open_memory

    data = _read_input(file)
    with open_memory() as memory, progress_line("Importing") as line:
        try:
            line.show("reading")
            added = memory.long_term.import_export(data, line.fraction)
        except (InvalidImport, UnknownStrategy) as error:
            name = "The input" if file == "-" else file
            raise InputFileError(f"{name} cannot be imported, and nothing was: {error}") from error
    if as_json:
        print_json(asdict(added))
    else:
        note(imported_words(added))


def _read_input(file: str) -> bytes:
    if file == "-":
        data = piped_input(_MOST_BYTES + 1)
        if data is None:
            raise UsageProblem("Nothing is piped in. Name a file: stevemin memory import FILE")
    else:
        try:
            with open(file, "rb") as stream:
                data = stream.read(_MOST_BYTES + 1)
        except OSError as error:
            raise InputFileError(f"{file} cannot be read ({error.strerror or error}).") from error
    if len(data) > _MOST_BYTES:
        name = "The input" if file == "-" else file
        raise InputFileError(f"{name} is larger than {_MOST_BYTES >> 20:,} MiB, so it was not imported.")
    return data


# Correct it


@app.command()
def add(
    text: Text,
    preference: Annotated[bool, typer.Option("--preference", help="A preference, not a fact.")] = False,
    as_json: Json = False,
) -> None:
    """Add a fact to your profile."""
    from stevemin_chat.recall import open_memory

    with open_memory() as memory:
        known = {fact.id for fact in memory.long_term.facts()}
        fact = memory.long_term.add_fact(text, Kind.PREFERENCE.value if preference else Kind.FACT.value)
    if as_json:
        print_json(fact.to_json())
    else:
        note(f"{'Known already' if fact.id in known else 'Added'} as {fact.id}: {fact.text}")


@app.command()
def edit(fact_id: FactId, text: Text, as_json: Json = False) -> None:
    """Reword a fact."""
    from stevemin_chat.recall import open_memory

    with open_memory() as memory:
        fact = memory.long_term.edit_fact(fact_id, text)
    if as_json:
        print_json(fact.to_json())
    else:
        note(f"{fact.id} is now: {fact.text}")


@app.command()
def pin(fact_ids: FactIds, as_json: Json = False) -> None:
    """Put facts into every prompt, before all others."""
    _pin(fact_ids, True, as_json)


@app.command()
def unpin(fact_ids: FactIds, as_json: Json = False) -> None:
    """Undo `pin`."""
    _pin(fact_ids, False, as_json)


def _pin(fact_ids: list[int], pinned: bool, as_json: bool) -> None:
    from memory import FactNotFound
    from stevemin_chat.recall import open_memory

    with open_memory() as memory:
        known = {fact.id for fact in memory.long_term.facts()}
        for fact_id in fact_ids:
            if fact_id not in known:  # before anything is changed
                raise FactNotFound(fact_id)
        facts = [memory.long_term.pin_fact(fact_id, pinned) for fact_id in dict.fromkeys(fact_ids)]
    if as_json:
        print_json([fact.to_json() for fact in facts])
        return
    for fact in facts:
        note(f"{fact.id} is {'pinned' if pinned else 'no longer pinned'}: {fact.text}")


# Forget it, switch it off


@app.command()
def forget(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Facts by number, messages by id or its start."),
    ] = None,
    containing: Annotated[
        str | None,
        typer.Option(
            "--containing",
            metavar="TEXT",
            help="Everything with this text: messages, facts, titles, system prompts, drafts.",
        ),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", metavar="CHAT", help="With --containing: only in this chat."),
    ] = None,
    source: Annotated[
        bool, typer.Option("--source", help="Forget the messages that the facts come from, too.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Forget facts and messages, with replies and all derived from them.

    A text is also looked for in titles, system prompts and drafts.
    """
    from stevemin_chat.base import Paths
    from stevemin_chat.chats import Drafts
    from stevemin_chat.recall import choose, forgotten_words, open_memory

    with open_memory(meaning=True) as memory:
        drafts = Drafts(Paths.resolve().drafts)
        chosen = choose(
            memory, ids or [], containing=containing, session=session, source=source, drafts=drafts
        )
        if chosen:
            confirm(chosen.question, yes=yes, details=chosen.lines())
        with progress_line("Forgetting") as line:
            line.show("rewriting the index")  # takes seconds
            gone = chosen.forget(memory, drafts)
            line.show("emptying the log")  # waits for a program that reads the database
            erased = memory.long_term.erased(_ERASE_WAIT_S)
    if as_json:
        shown = {name: value for name, value in asdict(gone).items() if name != "sessions"}
        shown |= {"chats": [chat.id for chat in chosen.chats], "drafts": len(chosen.drafts)}
        print_json(shown | {"erased": erased})
    else:
        note(forgotten_words(gone, names=len(chosen.chats), drafts=len(chosen.drafts), erased=erased))


@app.command()
def off(session: ChatOrAll = None, yes: Yes = False, as_json: Json = False) -> None:
    """Stop remembering. With a chat: delete its memories and keep the chat."""
    from stevemin_chat.recall import open_memory

    with open_memory(meaning=session is not None) as memory:
        if session is None:
            memory.long_term.switch(False)
            _tell(memory, None, as_json)
            return
        record = memory.session(session)
        _confirm_losses(memory, record, yes)
        _tell(memory, memory.set_session(record.id, off_record=True), as_json)


def _confirm_losses(memory: Memory, record: SessionRecord, yes: bool) -> None:
    """`on` brings back what was said, but not the person's own work on it."""
    from stevemin_chat.recall import fact_entries

    own = [entry.fact for entry in fact_entries(memory) if entry.session and entry.session.id == record.id]
    if lost := [fact for fact in own if fact.pinned or fact.edited]:
        confirm(
            f"Take {record.title!r} off the record? Facts that you pinned or edited are deleted for good.",
            yes=yes,
            details=[f"fact {fact.id}: {fact.text}" for fact in lost],
        )


@app.command()
def on(session: ChatOrAll = None, as_json: Json = False) -> None:
    """Remember again. With a chat: remember everything that was said in it."""
    from stevemin_chat.recall import open_memory

    with open_memory() as memory:
        if session is not None:
            _tell(memory, memory.set_session(memory.session(session).id, off_record=False), as_json)
            return
        memory.long_term.switch(True)
        _tell(memory, None, as_json)
        if not memory.long_term.remembering:
            note("The settings keep it off: enabled = false under [memory].")


def _tell(memory: Memory, session: SessionRecord | None, as_json: bool) -> None:
    from stevemin_chat.recall import switched_in_words

    remembering = memory.long_term.remembering
    if not as_json:
        note(switched_in_words(session, remembering))
    elif session is None:
        print_json({"id": None, "remembering": remembering})
    else:
        print_json({"id": session.id, "remembering": remembering and not session.off_record})
