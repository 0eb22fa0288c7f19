"""One question to one model without a screen: load, send, stream, report."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine import RequestPhase
from engine.errors import InvalidRequest, LoadCancelled
from memory import STRATEGIES, SessionRecord, UnknownStrategy
from stevemin_chat.base import Config, Paths, UsageProblem, begin
from stevemin_chat.chats import ChatSession
from stevemin_chat.cli.output import ProgressLine, note, print_answer, print_json, progress_line
from stevemin_chat.notices import EXIT_DONE, EXIT_INTERRUPTED
from stevemin_chat.runtime import Overrides, Runtime
from stevemin_chat.text import Sanitizer

__all__ = ["Question", "run_question", "sweep_old_questions"]

_IN_MEMORY = Path(":memory:")  # a store that leaves nothing on the disk
_POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question of the command line.

    Args:
        model: None takes the chat's, else the settings'.
        session: id or title of the chat that keeps it; None keeps it nowhere.
        strategy: context strategy for this question; None takes the chat's, else the settings'.
        system_prompt: becomes the chat's own.
        sampling: the given fields of `engine.SamplingParams`.
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
    """Answer on stdout; returns the exit code.

    SIGINT, SIGTERM and SIGHUP stop the answer; a named chat keeps its text before the code is returned.

    Raises:
        UsageProblem: an option's value is out of range.
        KeyboardInterrupt: Ctrl-C before the answer began.
        Everything that Runtime and ChatSession raise.
    """
    paths, config = begin()
    sweep_old_questions(Path(tempfile.gettempdir()))
    if question.session is not None and not question.session.strip():
        raise UsageProblem("-s needs a title or an id.")
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
        with _stopped_by_signals() as received:
            try:
                code = await self._answer(paths, config)
            except (asyncio.CancelledError, LoadCancelled, OSError):
                if not received:
                    raise
                code = EXIT_INTERRUPTED  # or the terminal to write to is gone
        return 128 + received[0] if received else code

    async def _answer(self, paths: Paths, config: Config) -> int:
        question = self._question
        async with _opened(paths, config, stored=question.session is not None) as runtime:
            record = await self._stored_chat(runtime)
            await self._load(runtime, record)
            record = await self._chat_to_ask_in(runtime, record)
            overrides = Overrides(strategy=question.strategy, sampling=question.sampling)
            chat = runtime.chat_session(record, overrides)
            code = await self._stream(chat, runtime)
            self._report(chat, record)
        return code

    async def _stored_chat(self, runtime: Runtime) -> SessionRecord | None:
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

    async def _chat_to_ask_in(self, runtime: Runtime, record: SessionRecord | None) -> SessionRecord:
        """A new chat is created only now: no error of the model can leave an empty one behind."""
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
        """Print the answer while it arrives. A signal ends it; the store keeps the text so far."""
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


@contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP cancel the current task, once, as asyncio lets SIGINT do; yields what arrived."""
    received: list[int] = []
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None

    def stop(number: int) -> None:
        if not received:
            task.cancel()
        received.append(number)

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup
    ]
    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        yield received
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _prefill_shown(runtime: Runtime) -> AsyncIterator[ProgressLine]:
    """Show the progress of a long prompt until the line is cleared."""

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
async def _opened(paths: Paths, config: Config, *, stored: bool) -> AsyncIterator[Runtime]:
    runtime = await Runtime.open(paths, config, database=None if stored else _IN_MEMORY)
    try:
        yield runtime
    finally:
        await runtime.close()


_OLD_PREFIX = "stevemin-"
_OLD_FILES = {"ask.db", "ask.db-wal", "ask.db-shm"}
_OLD_QUIET_S = 60  # a store that is just being opened holds no lock yet


def sweep_old_questions(folder: Path) -> None:
    """Delete the questions that earlier versions left in temporary folders when they were killed.

    Touches only private folders of this user that hold nothing but such a store, and none that a process
    still has open. Errors are ignored: the next run tries again.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_OLD_PREFIX) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    _sweep(Path(entry.path))


def _sweep(folder: Path) -> None:
    mode = folder.lstat()
    if mode.st_uid != os.getuid() or stat.S_IMODE(mode.st_mode) != 0o700:
        return
    files = list(folder.iterdir())
    regular = all(stat.S_ISREG(file.lstat().st_mode) for file in files)
    if not files or not regular or not {file.name for file in files} <= _OLD_FILES:
        return
    if time.time() - max(file.stat().st_mtime for file in files) < _OLD_QUIET_S:
        return
    if any(_is_locked(file) for file in files):
        return
    for file in files:
        file.unlink()
    folder.rmdir()


def _is_locked(file: Path) -> bool:
    """Whether a process has the store open: SQLite then holds a lock on the database or its -shm file."""
    import fcntl

    descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
