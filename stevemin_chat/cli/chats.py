"""`stevemin sessions`: the stored chats."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from stevemin_chat.cli.output import confirm, note, print_json, print_table

__all__ = ["app"]

app = typer.Typer(help="Stored chats: list, show, delete.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Session = Annotated[str, typer.Argument(help="Id or title of a chat.")]


@app.command("list")
def list_sessions(as_json: Json = False) -> None:
    """All chats, the latest first."""
    from stevemin_chat.recall import open_memory

    with open_memory() as memory:
        records = memory.sessions()
    if as_json:
        print_json([asdict(record) for record in records])
        return
    rows = [
        (record.id, record.updated_at[:16].replace("T", " "), str(record.message_count), record.title)
        for record in records
    ]
    print_table(("ID", "LAST USED (UTC)", "MESSAGES", "TITLE"), rows)


@app.command()
def show(session: Session, as_json: Json = False) -> None:
    """The current branch of a chat, as Markdown."""
    from stevemin_chat.chats import branch_as_markdown
    from stevemin_chat.recall import open_memory

    with open_memory() as memory:
        record = memory.session(session)
        messages = memory.messages(record.id)
    if as_json:
        print_json(asdict(record) | {"messages": [asdict(message) for message in messages]})
    else:
        print(branch_as_markdown(record, messages), end="")


@app.command()
def delete(session: Session, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a chat with all its messages, for good."""
    from stevemin_chat.recall import installed_embedder_or_none, open_memory

    with open_memory(installed_embedder_or_none()) as memory:
        record = memory.session(session)
        confirm(f"Delete the chat {record.title!r} ({record.id}, {record.message_count} messages)?", yes=yes)
        memory.delete_session(record.id)
    if as_json:
        print_json({"id": record.id, "deleted": True})
    else:
        note(f"{record.title!r} ({record.id}) is deleted.")
