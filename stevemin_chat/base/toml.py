"""TOML files that a person writes: reads them, and says what is wrong by file and line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stevemin_chat.base.errors import ConfigFileError

__all__ = ["line_of", "read_toml"]


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, without a byte order mark and with `\\n` for line ends, and its values.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigFileError: it cannot be read, or is not TOML.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigFileError(path, None, line, "The file is not UTF-8 text.") from error
    except OSError as error:
        what = f"The file cannot be read ({error.strerror or error})."
        raise ConfigFileError(path, None, None, what) from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, error) from error
    except RecursionError:
        raise ConfigFileError(path, None, None, "Its values are nested too deeply.") from None
    except ValueError as error:  # a number with thousands of digits
        raise ConfigFileError(path, None, None, f"This is not valid TOML: {error}.") from error


def line_of(text: str, keys: Sequence[str]) -> int | None:
    """The line where a setting starts: after the longest valid start of the file that lacks it.

    tomllib parses every start of the file, so that every spelling of a key is understood.
    """
    lines = text.split("\n")
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            values: Any = tomllib.loads("\n".join(lines[:end]))
        except (tomllib.TOMLDecodeError, RecursionError):  # this stack is deeper than that of `read_toml`
            continue
        for key in keys:
            values = values.get(key) if isinstance(values, dict) else None
        if values is not None:
            return start + 1
        start = end
    return None


def _syntax_error(path: Path, text: str, error: tomllib.TOMLDecodeError) -> ConfigFileError:
    message = str(error)
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if found:
        line, column = int(found[1]), int(found[2])
        what = f"{message[: found.start()]} (column {column})"
    else:
        line = text.rstrip().count("\n") + 1
        what = re.sub(r" \(at end of document\)$", " before the end of the file", message)
    return ConfigFileError(path, None, line, f"This is not valid TOML: {what}.")
