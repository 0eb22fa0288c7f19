"""One question to one model without a screen: load, send, stream, report."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine import RequestPhase
from engine.errors import InvalidRequest
from memory import STRATEGIES, SessionRecord, UnknownStrategy
from stevemin_chat.base import Config, Paths, UsageProblem, begin
from stevemin_chat.chats import ChatSession
from stevemin_chat.cli.output import ProgressLine, note, print_answer, print_json, progress_line
from stevemin_chat.notices import EXIT_DONE, EXIT_INTERRUPTED
from stevemin_chat.runtime import Overrides, Runtime
from stevemin_chat.text import Sanitizer

__all__ = ["Question", "run_question"]

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
