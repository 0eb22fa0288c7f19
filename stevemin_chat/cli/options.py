"""The options and arguments that several commands share, and those of `ask`, each declared once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Context",
    "FrequencyPenalty",
    "Grammar",
    "InChat",
    "Json",
    "JsonSchema",
    "MaxTokens",
    "Meaning",
    "MinP",
    "ModelOption",
    "OneChat",
    "PresencePenalty",
    "Query",
    "RepetitionPenalty",
    "Results",
    "Seed",
    "Stop",
    "System",
    "Temperature",
    "TopK",
    "TopP",
    "Yes",
    "piped_input",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="A catalogue name, a .gguf file, or OWNER/REPO:FILE.")
]
OneChat = Annotated[str, typer.Argument(metavar="CHAT", help="Id or title of a chat.")]

# what searches
Query = Annotated[str, typer.Argument(help="Words, or a question.")]
Results = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most n results.")]
Meaning = Annotated[
    bool,
    typer.Option(
        "--meaning/--words", help="Also by meaning: loads the embedding model, which takes seconds."
    ),
]

# ask
InChat = Annotated[
    str | None,
    typer.Option(
        "--session", "-s", metavar="CHAT", help="Keep it in this chat, by id or title; new if unknown."
    ),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="STRATEGY",
        help="Selects the history for the prompt: hierarchical, sliding, full, …",
    ),
]
System = Annotated[str | None, typer.Option("--system", help="System prompt; a named chat keeps it.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", help="Limit of the answer, in tokens.")]
Seed = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same answer.")]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="Randomness; 0 always takes the likeliest token.")
]
TopK = Annotated[int | None, typer.Option("--top-k", help="Keep the k likeliest tokens; 0 keeps all.")]
TopP = Annotated[
    float | None, typer.Option("--top-p", help="Keep the likeliest tokens up to this total probability.")
]
MinP = Annotated[
    float | None, typer.Option("--min-p", help="Drop tokens less likely than this share of the likeliest.")
]
RepetitionPenalty = Annotated[
    float | None, typer.Option("--repetition-penalty", help="Above 1: repeat less.")
]
PresencePenalty = Annotated[
    float | None, typer.Option("--presence-penalty", help="Above 0: prefer tokens not used yet.")
]
FrequencyPenalty = Annotated[
    float | None, typer.Option("--frequency-penalty", help="Above 0: prefer tokens used less often.")
]
Stop = Annotated[
    list[str] | None, typer.Option("--stop", help="End the answer before this text. May be repeated.")
]
JsonSchema = Annotated[
    Path | None, typer.Option("--json-schema", help="Constrain the answer to the JSON schema in this file.")
]
Grammar = Annotated[
    Path | None, typer.Option("--grammar", help="Constrain the answer to the GBNF grammar in this file.")
]


def piped_input(most: int = -1) -> bytes | None:
    """All of stdin, or its first bytes; None if it is a terminal, or closed.

    Args:
        most: bytes to read.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return None
    buffer = getattr(sys.stdin, "buffer", None)
    return buffer.read(most) if buffer is not None else sys.stdin.read(most).encode()
