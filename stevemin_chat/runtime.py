"""The one place where engine, memory and application meet.

The engine as the memory and the chats want to see it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import ChatMessage, Engine, EngineConfig, GenerationRequest, ModelInfo, Priority, SamplingParams
from engine.errors import (
    EngineClosed,
    EngineCrashed,
    EngineError,
    LoadCancelled,
    ModelCorrupt,
    ModelNotFound,
    QueueFull,
)
from memory import EmbedderUnavailable, Memory, SessionRecord, SummaryCancelled, Turn
from memory.summaries import prompt_for_summary
from stevemin_chat.base.config import Config
from stevemin_chat.base.errors import ModelSwitchFailed, NoModelLoaded
from stevemin_chat.base.paths import Paths, builtin_catalogue_path, project_folder
from stevemin_chat.chats.ports import TextSource, TextStream
from stevemin_chat.chats.session import ChatSession, SessionSettings
from stevemin_chat.models.catalogue import Catalogue

if TYPE_CHECKING:
    from memory import Embedder, Forgotten
    from stevemin_chat.base.config import MemorySection

__all__ = [
    "CurrentEngine",
    "EngineCounter",
    "EngineSummarizer",
    "Overrides",
    "Runtime",
]


_log = logging.getLogger(__name__)

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What one chat, or one question, does differently from its session and the settings.

    Args:
        strategy: None leaves the session's.
        sampling: fields of `engine.SamplingParams` to replace.
    """

    strategy: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)


class Runtime:
    """Engine, memory, catalogue and settings of one running application.

    Attributes:
        engine: None until a model is loaded, and after a failed change of model.
        model_name: as it was asked for; None while no model is loaded.
        last_model: the model that was loaded last, for coming back after a stopped load.
        on_forgotten: told when messages have been forgotten, with the summaries made of them.
    """

    def __init__(
        self,
        *,
        paths: Paths,
        config: Config,
        catalogue: Catalogue,
        memory: Memory,
        engine_factory: Callable[[EngineConfig], Engine] = Engine,
    ) -> None:
        self.paths = paths
        self.config = config
        self.catalogue = catalogue
        self.memory = memory
        self.engine: Engine | None = None
        self.model_name: str | None = None
        self.last_model: str | None = None
        self.source = CurrentEngine(lambda: self.engine)
        self.on_forgotten: Callable[[], None] = lambda: None
        self._engine_factory = engine_factory
        self._focused: str | None = None
        self._changing = asyncio.Lock()

    @classmethod
    async def open(
        cls, paths: Paths, config: Config, *, database: Path | None = None, meaning: bool = False
    ) -> Runtime:
        """Open the catalogue and the store; no model is loaded yet.

        Args:
            database: the SQLite file; None is the one in the data folder.
            meaning: let strategies that search find meanings besides words; worth it only for a process
                that lives long enough to load the embedding model. Nothing does where the settings turn
                long-term memory off.

        Raises:
            engine.ConfigError: a catalogue is not valid.
            FolderNotWritable, memory.StoreError: the store cannot be opened.
        """
        catalogue = await asyncio.to_thread(Catalogue.load, builtin_catalogue_path(), paths.user_catalogue)
        memory = await asyncio.to_thread(_open_memory, paths, config.memory, database, meaning)
        return cls(paths=paths, config=config, catalogue=catalogue, memory=memory)

    async def load_model(
        self, name: str, on_progress: Progress | None = None, *, reload: bool = False
    ) -> ModelInfo:
        """Load a model in place of the current one; streams of the old engine end with `EngineClosed`.

        Nothing is given up before the new file is known to be there and to be a GGUF. If it then cannot
        be loaded, the old model is loaded again. A cancelled load leaves no model.

        Args:
            name: catalogue name, path to a `.gguf`, or `OWNER/REPO:FILE`.
            on_progress: called on the event loop with 0 to 1.
            reload: load anew even if it is this model that is loaded.

        Raises:
            engine.ModelNotFound, engine.ModelCorrupt: before anything was changed, or there was no old model.
            ModelSwitchFailed: the load failed; says whether the old model is loaded again.
            engine.LoadCancelled: the load was stopped.
        """
        async with self._changing:
            path = await asyncio.to_thread(self._model_file, name)
            loaded = self._loaded()
            if loaded is not None and not reload and loaded.path == path:
                self.model_name = self.last_model = name
                return loaded
            before = self.model_name
            await self._drop_engine()
            try:
                return await self._start_engine(name, path, on_progress)
            except LoadCancelled:
                raise
            except (EngineError, OSError, MemoryError) as error:
                if before is None:
                    raise
                kept = await self._load_again(before, on_progress)
                raise ModelSwitchFailed(name, error, kept) from error

    async def create_session(self, title: str | None = None, **settings: Any) -> SessionRecord:
        """A new session of the project that stevemin runs in, with the memory's scope of the settings file.

        Args:
            title, settings: as `Memory.create_session` takes them.

        Raises:
            memory.StoreError
        """
        return await asyncio.to_thread(self._create_session, title, settings)

    def chat_session(self, record: SessionRecord, overrides: Overrides | None = None) -> ChatSession:
        """The chat of a stored session, with the loaded model.

        Raises:
            NoModelLoaded: load one first.
            engine.InvalidRequest: an overridden sampling value is out of range.
        """
        settings = self.session_settings(record, overrides or Overrides())
        return ChatSession(record.id, memory=self.memory, source=self.source, settings=settings)

    def session_settings(self, record: SessionRecord, overrides: Overrides) -> SessionSettings:
        """What counts for a session: overrides, else its own choice, else the settings file."""
        if self.engine is None or self.model_name is None:
            raise NoModelLoaded
        return SessionSettings(
            strategy=overrides.strategy or record.strategy or self.config.strategy,
            sampling=self.config.sampling.params(**overrides.sampling),
            system_prompt=self.config.system_prompt,  # the memory lets the session's own go before it
            context_tokens=self.engine.info.context_tokens,
            model=self.model_name,
        )

    def focus(self, session_id: str | None) -> None:
        """Let a session be answered before the others, by this engine and by those loaded later.

        Never blocks. None favours no session.
        """
        self._focused = session_id
        if self.engine is not None:
            self.engine.focus(session_id)

    async def delete_session(self, session_id: str) -> None:
        """Delete a session from the store and its cache from the engine."""
        await asyncio.to_thread(self.memory.delete_session, session_id)
        if self.engine is not None:
            self.engine.forget(session_id)

    async def forget_messages(self, message_ids: Sequence[str]) -> Forgotten:
        """Forget messages, and drop the caches of the sessions they were in. Raises memory.StoreError."""
        forgotten = await asyncio.to_thread(self.memory.long_term.forget, message_ids)
        if self.engine is not None:
            for session_id in forgotten.sessions:
                self.engine.forget(session_id)
        self.on_forgotten()
        return forgotten

    async def close(self) -> None:
        """Stop the engine, then close the store. Safe to call twice."""
        async with self._changing:
            try:
                await self._drop_engine()
            finally:
                await asyncio.to_thread(self.memory.close)

    def _create_session(self, title: str | None, settings: Mapping[str, Any]) -> SessionRecord:
        record = self.memory.create_session(title, project=project_folder(), **settings)
        scope = self.config.memory.scope
        return record if record.scope == scope else self.memory.set_session(record.id, scope=scope)

    def _loaded(self) -> ModelInfo | None:
        try:
            return self.engine.info if self.engine is not None else None
        except EngineClosed:  # it has crashed: the same model may be asked for to have a new engine
            return None

    def _model_file(self, name: str) -> Path:
        path = self.catalogue.resolve(name, self.paths.models_dir)
        try:
            with path.open("rb") as file:
                magic = file.read(4)
        except FileNotFoundError:
            raise ModelNotFound(f"There is no file {path}.") from None
        except IsADirectoryError:
            raise ModelNotFound(f"{path} is a folder, not a GGUF file.") from None
        except OSError as error:
            raise ModelNotFound(f"{path} cannot be read ({error.strerror}).") from error
        if magic != b"GGUF":
            raise ModelCorrupt(f"{path} is not a GGUF file.")
        return path

    async def _start_engine(self, name: str, path: Path, on_progress: Progress | None) -> ModelInfo:
        settings = self.config.engine.for_model(path, parked_folder=self.paths.parked_dir)
        engine = self._engine_factory(settings)
        try:
            await engine.start(on_progress)
        except BaseException:
            await asyncio.shield(engine.close())
            raise
        self.engine = engine
        engine.focus(self._focused)
        self.memory.counter = EngineCounter(engine)
        self.memory.summarizer = self._summarizer(asyncio.get_running_loop())
        self.model_name = self.last_model = name
        return engine.info

    def _summarizer(self, loop: asyncio.AbstractEventLoop) -> EngineSummarizer:
        # A source of its own: `source` tells of requests that somebody waits for.
        return EngineSummarizer(CurrentEngine(lambda: self.engine), loop)

    async def _load_again(self, name: str, on_progress: Progress | None) -> str | None:
        try:
            await self._start_engine(name, await asyncio.to_thread(self._model_file, name), on_progress)
        except (EngineError, OSError, MemoryError):
            return None
        return name

    async def _drop_engine(self) -> None:
        engine, self.engine, self.model_name = self.engine, None, None
        self.memory.counter = None
        if engine is not None:
            await engine.close()


def _open_memory(paths: Paths, settings: MemorySection, database: Path | None, meaning: bool) -> Memory:
    if database is None:
        paths.prepare()
        database = paths.database
    memory = Memory(
        database,
        embedder=_embedder() if meaning and settings.enabled else None,
        chroma_url=settings.chroma_url,
        remembering=None if settings.enabled else False,
    )
    try:
        memory.recover_interrupted()
    except BaseException:
        memory.close()
        raise
    return memory


def _embedder() -> Embedder | None:
    from memory.vectors import WorkerEmbedder

    try:
        return WorkerEmbedder()
    except EmbedderUnavailable as error:
        _log.warning("Search goes by keywords only: %s", error)
        return None


_POLL_S = 0.02  # how long a cancelled summary may go on
_REPETITION_PENALTY = 1.1  # a small model that is greedy goes round in circles without one


class EngineCounter:
    """Counts with the loaded model's tokenizer; the memory's `TokenCounter`. Blocking, thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def count_text(self, text: str) -> int:
        return self._engine.count_tokens(text)

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        return self._engine.count_prompt([ChatMessage(turn.role, turn.content) for turn in messages])


class EngineSummarizer:
    """Has summaries written when nobody waits for an answer; the memory's `Summarizer`.

    Blocking, for any thread but the event loop's.

    Args:
        loop: where `source` lives.
    """

    def __init__(self, source: TextSource, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop

    def summarise(self, texts: Sequence[str], *, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        """What the model makes of the texts, unchecked.

        Raises:
            SummaryCancelled: `cancelled` said yes, or there is no engine with room for it: worth another try.
            EngineError: the model cannot summarise these texts.
        """
        if cancelled():
            raise SummaryCancelled
        coroutine = self._write(_summary_request(texts, max_tokens))
        try:
            writing = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop is closed: the application has ended
            coroutine.close()
            raise SummaryCancelled from None
        while not wait((writing,), _POLL_S).done:
            if cancelled():
                writing.cancel()
                raise SummaryCancelled
        try:
            return writing.result()
        except EngineCrashed:  # perhaps because of these texts
            raise
        except (NoModelLoaded, EngineClosed, QueueFull) as error:
            raise SummaryCancelled from error

    async def _write(self, request: GenerationRequest) -> str:
        stream = self._source.submit(request)
        try:
            return "".join([chunk.text async for chunk in stream])
        except asyncio.CancelledError:
            stream.cancel()
            raise


class CurrentEngine:
    """The text port to whichever engine is loaded now; a chat survives a change of model by it.

    Attributes:
        on_submit: told of every request, before the engine is.
    """

    def __init__(self, current: Callable[[], Engine | None]) -> None:
        self._current = current
        self.on_submit: Callable[[], None] = lambda: None

    @property
    def load(self) -> float:
        """Requests in the engine for each one that it can serve at a time, 1 at most."""
        engine = self._current()
        if engine is None:
            return 0.0
        stats = engine.stats()
        return min(1.0, (stats.active + stats.waiting) / max(1, stats.max_sessions))

    def submit(self, request: GenerationRequest) -> TextStream:
        """Raises NoModelLoaded while there is no engine."""
        self.on_submit()
        engine = self._current()
        if engine is None:
            raise NoModelLoaded
        return engine.submit(request)


def _summary_request(texts: Sequence[str], max_tokens: int) -> GenerationRequest:
    return GenerationRequest(
        messages=[ChatMessage("user", prompt_for_summary(texts))],
        sampling=SamplingParams(
            temperature=0.0, repetition_penalty=_REPETITION_PENALTY, max_tokens=max_tokens
        ),
        priority=Priority.BACKGROUND,
    )
