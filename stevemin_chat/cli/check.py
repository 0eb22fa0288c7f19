"""Checks whether a model may look for facts in what the person says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Event

from memory import FactsCheck
from stevemin_chat.base import begin
from stevemin_chat.cli.output import note, print_json, print_table, progress_line
from stevemin_chat.runtime import Runtime
from stevemin_chat.text import percent

__all__ = ["run_check"]


def run_check(model: str | None, *, as_json: bool) -> None:
    """Load a model, check it, remember the result and print it.

    Args:
        model: None takes that of the settings.

    Raises:
        KeyboardInterrupt: Ctrl-C; nothing is remembered.
        Everything that `Runtime` raises.
    """
    name, result = asyncio.run(_check(model))
    if as_json:
        print_json({"name": name} | result.to_json())
        return
    print_table(("LABELLED MESSAGES", f"{result.messages:,}"), list(_rows(result)))
    note(_verdict(name, result))


async def _check(model: str | None) -> tuple[str, FactsCheck]:
    paths, config = await asyncio.to_thread(begin)
    runtime = await Runtime.open(paths, config)
    stop = Event()
    try:
        name = model or config.model
        with progress_line(f"Loading {name}") as line:
            await runtime.load_model(name, line.fraction)
        extractor = runtime.memory.extractor
        assert extractor is not None  # a loaded model has one
        with progress_line("Looking for facts in labelled messages") as line:
            result = await asyncio.to_thread(
                runtime.memory.long_term.check_extractor,
                extractor,
                show=line.fraction,
                cancelled=stop.is_set,
            )
    finally:
        stop.set()
        await runtime.close()
    return name, result


def _rows(result: FactsCheck) -> Iterator[tuple[str, str]]:
    share = "" if result.precision is None else f" ({percent(result.precision)})"
    yield "statements kept", f"{result.kept:,}"
    yield "of these, right", f"{result.right:,}{share}"
    yield "found", f"{result.found:,} of {result.labelled:,}"
    for kind, (found, labelled) in result.by_kind.items():
        yield f"  {kind}", f"{found:,} of {labelled:,}"


def _verdict(name: str, result: FactsCheck) -> str:
    needed = f"{percent(result.LEAST_PRECISION)} right and {result.LEAST_RIGHT} right statements"
    if result.passed:
        return f"{name} passes ({needed}): it looks for facts in what you say while stevemin is idle."
    return f"{name} does not pass ({needed}): facts are found by rules only."
