"""Files that say what an answer may look like: a JSON schema or a GBNF grammar."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from stevemin_chat.errors import InputFileError, UsageProblem

__all__ = ["read_constraint"]


def read_constraint(json_schema: Path | None, grammar: Path | None) -> dict[str, str]:
    """The fields of `engine.SamplingParams` that constrain an answer; none without a file.

    That a schema is JSON is seen here, before a model is loaded; the rest is judged by the engine.

    Raises:
        UsageProblem: both are given.
        InputFileError: the file cannot be read, is not UTF-8 text, or the schema is not JSON.
    """
    if json_schema is not None and grammar is not None:
        raise UsageProblem("Give either --json-schema or --grammar, not both.")
    if json_schema is not None:
        return {"json_schema": _read("JSON schema", json_schema, json.loads)}
    if grammar is not None:
        return {"grammar": _read("grammar", grammar)}
    return {}


def _read(what: str, path: Path, parse: Callable[[str], object] = str) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        parse(text)
    except OSError as error:
        raise InputFileError(f"The {what} {path} cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise InputFileError(f"The {what} {path} is not UTF-8 text.") from error
    except (ValueError, RecursionError) as error:
        raise InputFileError(f"The {what} {path} is not JSON: {error}.") from error
    return text
