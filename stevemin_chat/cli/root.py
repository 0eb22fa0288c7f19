"""The tree of commands, and `stevemin` itself: the chat."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from stevemin_chat.base import UsageProblem
from stevemin_chat.cli import ask, backup, chats, docs, doctor, memory, models
from stevemin_chat.cli.chat import COMPLETION, open_chat
from stevemin_chat.cli.options import ModelOption

__all__ = ["build", "run"]

_PROGRAM = "stevemin"


def build() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        name=_PROGRAM,
        no_args_is_help=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(chat)
    app.command("ask")(ask.ask)
    app.add_typer(models.app, name="models")
    app.add_typer(chats.app, name="sessions")
    app.add_typer(chats.app, name="chats", hidden=True)
    app.add_typer(memory.app, name="memory")
    app.add_typer(docs.app, name="docs")
    app.command("backup")(backup.backup)
    app.command("restore")(backup.restore)
    app.command("doctor")(doctor.doctor)
    return app


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Parse and run; leaves every error but wrong usage to the caller.

    Raises:
        UsageProblem: the arguments make no sense.
    """
    if COMPLETION in os.environ:
        app(list(arguments), prog_name=_PROGRAM)
    command: Any = typer.main.get_command(app)
    # Not command.main(): it answers a closed pipe with exit code 1 and prints errors over several lines.
    try:
        with command.make_context(_PROGRAM, list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise UsageProblem(_usage(error)) from error
    return 0


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else _PROGRAM
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message}. See: {path} --help" if not message.endswith("?") else f"{message} See: {path} --help"


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            print(f"stevemin {metadata.version('stevemin')}")
        except metadata.PackageNotFoundError:
            print("stevemin (not installed)")
        raise typer.Exit


def chat(
    context: typer.Context,
    model: ModelOption = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Chat with language models in the terminal. Without a command, the chat opens."""
    if context.invoked_subcommand is not None:
        if model:
            raise UsageProblem("Put -m after the command.")
        return
    raise typer.Exit(open_chat(model))
