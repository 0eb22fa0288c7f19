"""The set-up's command line: `setup.py install [--dev]` and `setup.py peers`."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from bootstrap import peers
from bootstrap.console import SetupError, say
from bootstrap.environment import Environment

__all__ = ["run"]

ROOT = Path(__file__).resolve().parents[2]


def run(arguments: list[str], root: Path = ROOT) -> int:
    """Run one command; returns 0, 1 after printing one line, or 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="setup.py", description="Set up stevemin in this folder.")
    parser.add_argument("what", choices=("install", "peers"))
    parser.add_argument("--dev", action="store_true", help="include what tests and checks need")
    options = parser.parse_args(arguments)
    try:
        environment = Environment(root)
        _install(environment, ("dev",) if options.dev else ())
        if options.what == "peers":
            with _alone(environment):
                peers.build(environment)
    except SetupError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"Set-up failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted. Run the same command again to continue.")
        return 130
    return 0


def _install(environment: Environment, extras: tuple[str, ...]) -> None:
    asked_gpu = os.environ.get("GPU", "")
    if environment.is_ready(asked_gpu, extras):
        return
    with _alone(environment):
        if not environment.is_ready(asked_gpu, extras):
            environment.install(asked_gpu, extras)


@contextlib.contextmanager
def _alone(environment: Environment) -> Iterator[None]:
    environment.logs.mkdir(parents=True, exist_ok=True)
    with (environment.logs / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another set-up of this folder.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
