"""What is wrong with a settings file, and in which line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stevemin_chat.errors import ConfigFileError

__all__ = ["setting_error", "syntax_error"]

_REPLACED = {  # settings of earlier versions, and what took their place
    "engine.prefill_tokens": (
        "step_target_ms, the milliseconds that a step may take while somebody's answer is written"
    ),
}


def syntax_error(path: Path, text: str, error: tomllib.TOMLDecodeError) -> ConfigFileError:
    """Where the file stops being TOML."""
    message = str(error)
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if found:
        line, column = int(found[1]), int(found[2])
        what = f"{message[: found.start()]} (column {column})"
    else:
        line = text.rstrip().count("\n") + 1
        what = re.sub(r" \(at end of document\)$", " before the end of the file", message)
    return ConfigFileError(path, None, line, f"This is not valid TOML: {what}.")


def setting_error(path: Path, text: str, error: ValidationError, model: type[BaseModel]) -> ConfigFileError:
    """The first setting that `model` refuses, and the line it stands in."""
    first = error.errors(include_url=False)[0]
    keys = [str(part) for part in first["loc"] if not isinstance(part, int)]
    what = _sentence(first, keys, model)
    if first["type"] == "value_error" and len(keys) < 2:
        keys = _blamed(text, keys, what)
    more = error.error_count() - 1
    if more:
        what += f" ({more} more after this one.)"
    return ConfigFileError(path, ".".join(keys) or None, _line_of(text, keys), what)


def _sentence(problem: ErrorDetails, keys: Sequence[str], model: type[BaseModel]) -> str:
    message, kind, given = problem["msg"], problem["type"], problem["input"]
    if kind == "extra_forbidden" and (instead := _REPLACED.get(".".join(keys))):
        return f"There is no such setting any more. Use {instead}."
    if kind == "extra_forbidden":
        known = _known(keys[:-1], model)
        near = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(known)}."
        return f"There is no such setting. {hint}"
    if kind == "model_type":
        return f"It must be a section: [{'.'.join(keys)}]."
    if kind == "value_error":
        return f"{message.removeprefix('Value error, ').rstrip('.')}."
    shown = f", not {given!r}" if isinstance(given, str | int | float) else ""
    return f"{message.replace('Input should', 'It must', 1)}{shown}."


def _known(section: Sequence[str], model: type[BaseModel]) -> list[str]:
    for name in section:
        annotation = model.model_fields[name].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return list(model.model_fields)


def _blamed(text: str, section: list[str], what: str) -> list[str]:
    """Which setting of the section a check of the whole section complains about."""
    values: Any = tomllib.loads(text)
    for name in section:
        values = values[name]
    named = [name for name in re.findall(r"[a-z_]+", what) if name in values]
    return [*section, *named[:1]]


def _line_of(text: str, keys: Sequence[str]) -> int | None:
    """Line where a setting starts: after the last readable head of the file that does not have it yet.

    Lets tomllib itself judge, so that every way to write a key is understood.
    """
    lines = text.split("\n")
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            values: Any = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        for key in keys:
            values = values.get(key) if isinstance(values, dict) else None
        if values is not None:
            return start + 1
        start = end
    return None
