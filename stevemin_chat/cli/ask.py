"""`stevemin ask`: its options, its prompt, and the files that constrain an answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from stevemin_chat.base import InputFileError, UsageProblem

__all__ = ["ask", "read_constraint"]


def ask(
    prompt: Annotated[
        str | None, typer.Argument(help="The question. What is piped in is put behind it.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A name of the catalogue, a .gguf file, or OWNER/REPO:FILE."),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", help="Keep it in this chat, by id or title; made if it is new."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context", help="What of the past goes into the prompt: hierarchical, sliding, full, …"
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", help="The system prompt; a chat keeps it.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="Longest answer, in tokens.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Same seed, same answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0 always takes the likeliest.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Keep the k likeliest tokens; 0 keeps all.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="Keep the likeliest tokens up to this sum.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option("--min-p", help="Keep tokens this close to the likeliest.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option("--repetition-penalty", help="Above 1: repeat less.")
    ] = None,
    presence_penalty: Annotated[
        float | None, typer.Option("--presence-penalty", help="Above 0: prefer words not used yet.")
    ] = None,
    frequency_penalty: Annotated[
        float | None, typer.Option("--frequency-penalty", help="Above 0: prefer words used less.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="End the answer before this text. May be repeated.")
    ] = None,
    json_schema: Annotated[
        Path | None,
        typer.Option("--json-schema", help="Answer in JSON that the schema in this file allows."),
    ] = None,
    grammar: Annotated[
        Path | None,
        typer.Option("--grammar", help="Answer in the language of the GBNF grammar in this file."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document with text, timings, context.")
    ] = False,
) -> None:
    """Ask one question; the answer streams to stdout."""
    sampling: dict[str, Any] = {
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
    }
    from stevemin_chat.cli.answer import Question, run_question

    sampling |= read_constraint(json_schema, grammar)
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


def _whole_prompt(prompt: str | None) -> str:
    piped = "" if sys.stdin is None or sys.stdin.isatty() else _read_stdin()
    parts = [part for part in (prompt, piped.rstrip("\n")) if part and part.strip()]
    if not parts:
        raise UsageProblem(
            "There is no question: give one as an argument or pipe it in. See: stevemin ask --help"
        )
    return "\n\n".join(parts)


def _read_stdin() -> str:
    buffer = getattr(sys.stdin, "buffer", None)
    return buffer.read().decode("utf-8", "replace") if buffer is not None else sys.stdin.read()


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
