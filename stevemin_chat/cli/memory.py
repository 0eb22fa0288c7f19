"""`stevemin memory`: what is remembered across chats, to look at and to correct."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from stevemin_chat.base import UsageProblem
from stevemin_chat.cli import memory_control as control
from stevemin_chat.cli.output import note, print_json, print_lines, print_table, progress_line

__all__ = ["app"]

app = typer.Typer(help="Long-term memory: look at it, correct it, forget, switch it off.")


_SHARES = {"CHAT": 1, "TEXT": 3}


class Kind(StrEnum):
    """`memory.FactKind` as an option."""

    FACT = "fact"
    PREFERENCE = "preference"


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FactId = Annotated[int, typer.Argument(metavar="ID", help="Number of a fact.")]
FactIds = Annotated[list[int], typer.Argument(metavar="ID", help="Numbers of facts.")]
Text = Annotated[str, typer.Argument(help="One line.")]


@app.command("list")
def list_facts(
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only these.")] = None,
    pinned: Annotated[bool, typer.Option("--pinned", help="Only what goes into every prompt.")] = False,
    as_json: Json = False,
) -> None:
    """Your profile: what is known of you. Pinned facts come first, then the newest."""
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
    query: Annotated[str, typer.Argument(help="Words, or a question.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 10,
    session: Annotated[
        str | None, typer.Option("--session", "-s", help="What this chat may recall, by id or title.")
    ] = None,
    meaning: Annotated[
        bool,
        typer.Option(
            "--meaning/--words",
            help="By meaning, too: loads the embedding model, which takes several seconds.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Find what was said, in all chats. By words only, unless --meaning; the best come first."""
    from stevemin_chat.recall import (
        HIT_COLUMNS,
        hit_entries,
        installed_embedder,
        open_memory,
        wait_for_meaning,
    )

    if not query.strip():
        raise UsageProblem("There is nothing to search for: give some words.")
    embedder = installed_embedder() if meaning else None
    with open_memory(embedder) as memory:
        scope = memory.session(session).id if session is not None else None
        if embedder is not None:
            with progress_line("Search by meaning") as line:
                missing = wait_for_meaning(memory, embedder, line.show)
            if missing:
                note(missing)
        found = hit_entries(memory, memory.search(query, limit=limit, session_id=scope))
    if as_json:
        print_json([entry.to_json() for entry in found])
    elif found:
        print_table(HIT_COLUMNS, [entry.row() for entry in found], shorten=_SHARES)
    else:
        note("Nothing was found.")


@app.command()
def why(
    item: Annotated[
        str, typer.Argument(metavar="ID", help="A fact's number, or the start of a message's id.")
    ],
    as_json: Json = False,
) -> None:
    """Where a fact comes from, or what was made of a message."""
    from stevemin_chat.recall import open_memory, origin_as_json, origin_lines

    with open_memory() as memory:
        origin = memory.long_term.why(item)
    if as_json:
        print_json(origin_as_json(origin))
    else:
        print_lines(origin_lines(origin))


@app.command()
def add(
    text: Text,
    preference: Annotated[bool, typer.Option("--preference", help="A wish, not a fact.")] = False,
    as_json: Json = False,
) -> None:
    """Write something into your profile."""
    from stevemin_chat.recall import open_memory

    with open_memory() as memory:
        known = {fact.id for fact in memory.long_term.facts()}
        fact = memory.long_term.add_fact(text, Kind.PREFERENCE.value if preference else Kind.FACT.value)
    if as_json:
        print_json(asdict(fact))
    else:
        note(f"{'Known already' if fact.id in known else 'Noted'} as {fact.id}: {fact.text}")


@app.command()
def edit(fact_id: FactId, text: Text, as_json: Json = False) -> None:
    """Put a fact into other words."""
    from stevemin_chat.recall import open_memory

    with open_memory() as memory:
        fact = memory.long_term.edit_fact(fact_id, text)
    if as_json:
        print_json(asdict(fact))
    else:
        note(f"{fact.id} is now: {fact.text}")


@app.command()
def pin(fact_ids: FactIds, as_json: Json = False) -> None:
    """Put facts into every prompt, before all others."""
    _pin(fact_ids, True, as_json)


@app.command()
def unpin(fact_ids: FactIds, as_json: Json = False) -> None:
    """Treat facts like the others again."""
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
        print_json([asdict(fact) for fact in facts])
        return
    for fact in facts:
        note(f"{fact.id} is {'pinned' if pinned else 'not pinned any more'}: {fact.text}")


for command in (control.forget, control.export, control.stats, control.off, control.on):
    app.command()(command)
