"""`stevemin ask`: one question, its answer on stdout.

One question to one model without a screen: load, send, stream, report.

Files that say what an answer may look like: a JSON schema or a GBNF grammar.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from engine import RequestPhase
from engine.errors import InvalidRequest
from memory import STRATEGIES, SessionRecord, UnknownStrategy
from stevemin_chat.base.config import Config
from stevemin_chat.base.errors import InputFileError, UsageProblem
from stevemin_chat.base.logs import begin
from stevemin_chat.base.paths import Paths
from stevemin_chat.chats.session import ChatSession
from stevemin_chat.cli.output import ProgressLine, note, print_answer, print_json, progress_line
from stevemin_chat.notices import EXIT_DONE, EXIT_INTERRUPTED
from stevemin_chat.runtime import Overrides, Runtime
from stevemin_chat.text.sanitize import Sanitizer

__all__ = [
    "Question",
    "ask",
    "read_constraint",
    "run_question",
]


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
    from stevemin_chat.cli.ask import Question, read_constraint, run_question

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


_POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked on the command line.

    Args:
        model: None takes the session's, else the settings'.
        session: id or title of the chat to keep it in; None keeps it nowhere.
        strategy: context strategy for this question; None takes the session's, else the settings'.
        system_prompt: becomes the session's own.
        sampling: fields of `engine.SamplingParams` that were given.
        as_json: print one document at the end instead of streaming the text.
    """

    text: str
    model: str | None = None
    session: str | None = None
    strategy: str | None = None
    system_prompt: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    as_json: bool = False


def run_question(question: Question) -> int:
    """Answer on stdout; gives the exit code.

    Raises:
        UsageProblem: an option's value is out of range.
        KeyboardInterrupt: Ctrl-C before the answer began.
        Everything that Runtime and ChatSession raise.
    """
    paths, config = begin()
    if question.session is not None and not question.session.strip():
        raise UsageProblem("The session needs a title or an id.")
    try:
        config.sampling.params(**question.sampling)
        if question.strategy is not None and question.strategy not in STRATEGIES:
            raise UnknownStrategy(question.strategy, tuple(STRATEGIES))
    except (InvalidRequest, UnknownStrategy) as error:
        raise UsageProblem(str(error)) from error
    return asyncio.run(_Answer(question).run(paths, config))


class _Answer:
    def __init__(self, question: Question) -> None:
        self._question = question
        self._text: list[str] = []
        self._cleaner = Sanitizer() if sys.stdout.isatty() else None

    async def run(self, paths: Paths, config: Config) -> int:
        async with _opened(paths, config, ephemeral=self._question.session is None) as runtime:
            record = await self._stored_session(runtime)
            await self._load(runtime, record)
            record = await self._prepared(runtime, record)
            overrides = Overrides(strategy=self._question.strategy, sampling=self._question.sampling)
            chat = runtime.chat_session(record, overrides)
            code = await self._stream(chat, runtime)
            self._report(chat, record)
        return code

    async def _stored_session(self, runtime: Runtime) -> SessionRecord | None:
        if self._question.session is None:
            return None
        return await asyncio.to_thread(runtime.memory.find_session, self._question.session)

    async def _load(self, runtime: Runtime, record: SessionRecord | None) -> None:
        kept = record.model if record is not None else None
        name = self._question.model or kept or runtime.config.model
        with progress_line(f"Loading {name}") as line:
            info = await runtime.load_model(name, line.fraction)
        for warning in info.warnings:
            note(f"stevemin: {warning}")

    async def _prepared(self, runtime: Runtime, record: SessionRecord | None) -> SessionRecord:
        """The session to ask in; a new one is made only now, when nothing of the model can fail any more."""
        question, memory = self._question, runtime.memory
        if record is None:
            record = await runtime.create_session(
                question.session, model=question.model, strategy=question.strategy
            )
        if question.system_prompt is not None:
            record = await asyncio.to_thread(
                memory.set_session, record.id, system_prompt=question.system_prompt
            )
        return record

    async def _stream(self, chat: ChatSession, runtime: Runtime) -> int:
        """Print the answer as it comes. Ctrl-C ends it and keeps what there is."""
        try:
            async with aclosing(chat.send(self._question.text)) as chunks, _prefill_shown(runtime) as line:
                async for chunk in chunks:
                    line.clear()
                    self._text.append(chunk.text)
                    if not self._question.as_json:
                        print_answer(chunk.text, self._cleaner)
        except asyncio.CancelledError:
            return EXIT_INTERRUPTED
        finally:
            self._end_line()
        return EXIT_DONE

    def _end_line(self) -> None:
        if not self._question.as_json and self._text and not self._text[-1].endswith("\n"):
            print_answer("\n", None)

    def _report(self, chat: ChatSession, record: SessionRecord) -> None:
        context = chat.last_context
        if not self._question.as_json:
            if context is not None and context.notice:
                note(f"stevemin: {context.notice}")
            return
        timings = chat.last_timings
        print_json(
            {
                "text": "".join(self._text),
                "model": chat.settings.model,
                "session": record.id if self._question.session is not None else None,
                "finish_reason": str(chat.finish_reason) if chat.finish_reason else None,
                "timings": asdict(timings) if timings is not None else None,
                "context": context.to_json() if context is not None else None,
            }
        )


@asynccontextmanager
async def _prefill_shown(runtime: Runtime) -> AsyncIterator[ProgressLine]:
    """A long prompt takes a while to read: show how far it is, until somebody clears the line."""

    async def watch(line: ProgressLine) -> None:
        while runtime.engine is not None:
            await asyncio.sleep(_POLL_S)
            for request in runtime.engine.stats().requests:
                if request.phase is RequestPhase.PREFILL and request.prompt_tokens:
                    line.fraction(request.computed_tokens / request.prompt_tokens)

    with progress_line("Reading the prompt") as line:
        watcher = asyncio.create_task(watch(line))
        try:
            yield line
        finally:
            watcher.cancel()


@asynccontextmanager
async def _opened(paths: Paths, config: Config, *, ephemeral: bool) -> AsyncIterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="stevemin-", ignore_cleanup_errors=True) as folder:
        runtime = await Runtime.open(paths, config, database=Path(folder, "ask.db") if ephemeral else None)
        try:
            yield runtime
        finally:
            await runtime.close()


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
