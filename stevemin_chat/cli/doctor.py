"""`stevemin doctor`: is everything here, and if not, how to mend it."""

from __future__ import annotations

from typing import Annotated

import typer

from stevemin_chat.cli.output import print_json

__all__ = ["doctor"]


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check what is installed, offloaded, missing, and say how to mend it."""
    from stevemin_chat.base import Paths, start_logging
    from stevemin_chat.doctor import examine
    from stevemin_chat.text import sanitize

    paths = Paths.resolve()
    start_logging(paths.log_file)
    checks = examine(paths)
    failed = sum(check.status == "fail" for check in checks)
    if as_json:
        print_json([check.to_json() for check in checks])
    else:
        for check in checks:
            print(sanitize(f"{check.status:<5} {check.title}: {check.found}"))
            if check.mend:
                print(sanitize(f"      {check.mend}"))
    raise typer.Exit(1 if failed else 0)
