"""`stevemin sessions` (alias `chats`): the stored chats."""

from __future__ import annotations

from dataclasses import asdict

import typer

from stevemin_chat.cli.options import Json, OneChat, Yes
from stevemin_chat.cli.output import confirm, note, print_json, print_table

__all__ = ["app"]

app = typer.Typer(help="Stored chats: list, show, delete.")


@app.command("list")
def list_chats(as_json: Json = False) -> None:
    """List all chats, the latest first."""
    from stevemin_chat.recall import open_memory
    from stevemin_chat.text import minute

    with open_memory() as memory:
        records = memory.sessions()
    if as_json:
        print_json([asdict(record) for record in records])
        return
    rows = [
        (record.id, minute(record.updated_at), str(record.message_count), record.title) for record in records
    ]
    print_table(("ID", "LAST USED (UTC)", "MESSAGES", "TITLE"), rows)


@app.command()
def show(session: OneChat, as_json: Json = False) -> None:
    """Print the current branch of a chat as Markdown."""
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
def delete(session: OneChat, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a chat with all its messages, for good."""
    from stevemin_chat.recall import open_memory
    from stevemin_chat.text import count

    with open_memory(meaning=True) as memory:
        record = memory.session(session)
        messages = count(record.message_count, "message")
        confirm(f"Delete the chat {record.title!r} ({record.id}, {messages})?", yes=yes)
        memory.delete_session(record.id)
    if as_json:
        print_json({"id": record.id, "deleted": True})
    else:
        note(f"Deleted {record.title!r} ({record.id}).")
