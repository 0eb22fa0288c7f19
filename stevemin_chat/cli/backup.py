"""`stevemin backup` and `stevemin restore`: all chats and all that is remembered, in one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stevemin_chat.base import UsageProblem
from stevemin_chat.cli.options import Json, Yes
from stevemin_chat.cli.output import confirm, note, print_json, progress_line

if TYPE_CHECKING:
    from memory import Contents

__all__ = ["backup", "restore"]

BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file with the backup.")]


def backup(file: BackupFile, yes: Yes = False, as_json: Json = False) -> None:
    """Copy all chats, facts and summaries to a file, also while stevemin is running."""
    from memory import back_up
    from stevemin_chat.base import begin

    paths, _ = begin()
    if file.is_dir():
        raise UsageProblem(f"{file} is a folder. Name a file: stevemin backup {file / 'chats.db'}")
    if file.resolve() == paths.database.resolve():
        raise UsageProblem(f"{file} is the database itself. Name another file.")
    if file.exists():
        confirm(f"Overwrite {file}?", yes=yes)
    with progress_line("Backup") as line:
        line.show("copying and checking")
        contents = back_up(paths.database, file)
    if as_json:
        print_json({"file": str(file)} | asdict(contents))
    else:
        note(f"Backed up {_in_words(contents)} to {file}.")


def restore(file: BackupFile, yes: Yes = False, as_json: Json = False) -> None:
    """Replace all chats by those of a backup; the present ones are kept beside them."""
    from memory import inspect_backup
    from memory import restore as put_back
    from stevemin_chat.base import begin

    paths, _ = begin()
    if file.resolve() == paths.database.resolve():
        raise UsageProblem(f"{file} is the database itself. Name a backup.")
    with progress_line("Restore") as line:
        line.show("checking the backup")
        contents = inspect_backup(file)
    if paths.database.exists():
        confirm(f"Replace all present chats by the {_in_words(contents)} of {file}?", yes=yes)
    with progress_line("Restore") as line:
        line.show("copying and checking")
        paths.prepare()
        kept = put_back(file, paths.database)
    if as_json:
        print_json({"file": str(file), "kept": None if kept is None else str(kept)} | asdict(contents))
        return
    note(f"Restored {_in_words(contents)} from {file}.")
    if kept is not None:
        note(f"The chats from before are in {kept}; delete it when you no longer need it.")


def _in_words(contents: Contents) -> str:
    from stevemin_chat.text import count, listing

    chats, messages = count(contents.chats, "chat"), count(contents.messages, "message")
    return listing([chats, messages, count(contents.facts, "fact")])
