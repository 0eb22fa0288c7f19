"""`stevemin doctor`: shows what is installed, offloaded or missing, and how to fix it."""

from __future__ import annotations

import typer

from stevemin_chat.cli.options import Json
from stevemin_chat.cli.output import print_json

__all__ = ["doctor"]


def doctor(as_json: Json = False) -> None:
    """Show what is installed, offloaded or missing, and how to fix it."""
    from stevemin_chat.base import Paths, start_logging
    from stevemin_chat.doctor import examine
    from stevemin_chat.text import one_line

    paths = Paths.resolve()
    start_logging(paths.log_file)
    checks = examine(paths)
    if as_json:
        print_json([check.to_json() for check in checks])
    else:
        for check in checks:
            print(f"{check.status:<5} {one_line(f'{check.title}: {check.found}')}")
            if check.mend:
                print(f"      {one_line(check.mend)}")
    raise typer.Exit(1 if any(check.status == "fail" for check in checks) else 0)
