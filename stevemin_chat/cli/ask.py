"""`stevemin ask`: its options, its prompt, and the files that constrain an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from stevemin_chat.base import InputFileError, UsageProblem
from stevemin_chat.cli import options
from stevemin_chat.text import Typed, joined

__all__ = ["ask", "read_constraint"]


def ask(
    prompt: Annotated[str | None, typer.Argument(help="The question; piped input is appended to it.")] = None,
    model: options.ModelOption = None,
    session: options.InChat = None,
    context: options.Context = None,
    system: options.System = None,
    max_tokens: options.MaxTokens = None,
    seed: options.Seed = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    presence_penalty: options.PresencePenalty = None,
    frequency_penalty: options.FrequencyPenalty = None,
    stop: options.Stop = None,
    json_schema: options.JsonSchema = None,
    grammar: options.Grammar = None,
    as_json: options.Json = False,
) -> None:
    """Ask one question; the answer streams to stdout."""
    sampling = {
        "max_tokens": max_tokens,
        "seed": seed,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "stop": tuple(stop) if stop else None,
        **read_constraint(json_schema, grammar),
    }
    from stevemin_chat.cli.answer import Question, run_question

    question = Question(
        text=_whole_prompt(prompt),
        model=model,
        session=session,
        strategy=context,
        system_prompt=system,
        sampling={name: value for name, value in sampling.items() if value is not None},
        as_json=as_json,
    )
    raise typer.Exit(run_question(question))


def read_constraint(json_schema: Path | None, grammar: Path | None) -> dict[str, str]:
    """The fields of `engine.SamplingParams` that constrain an answer; none without a file.

    A schema that is not JSON is refused here, before a model is loaded; the engine validates the rest.

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


def _whole_prompt(prompt: str | None) -> Typed:
    piped = (options.piped_input() or b"").decode("utf-8", "replace")
    piped = piped.rstrip("\n")
    parts = [part for part in (prompt, Typed(piped, [(0, len(piped), "piped")])) if part and part.strip()]
    if not parts:
        raise UsageProblem(
            "There is no question: give one as an argument or pipe it in. See: stevemin ask --help"
        )
    return joined(parts, "\n\n")
