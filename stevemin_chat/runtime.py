"""The composition root: builds engine, memory and chats, and hands each what it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stevemin_chat.base import NoModelLoaded, Paths, builtin_catalogue_path, project_folder
from stevemin_chat.chats import Chats, ChatSession, ChatsListener, Drafts, SessionSettings, TextSource
from stevemin_chat.models import Catalogue, CurrentModel, ModelLoader
from stevemin_chat.notices import describe
from stevemin_chat.recall import (
    Consolidating,
    EngineCounter,
    EngineExtractor,
    EngineSummarizer,
    Remembering,
    open_store,
)

if TYPE_CHECKING:
    from engine import Engine, EngineConfig, ModelInfo
    from memory import Memory, SessionRecord
    from stevemin_chat.base import Config

__all__ = ["Overrides", "Runtime", "Workspace", "WorkspaceListener"]

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What one question does differently from its chat and the settings.

    Args:
        strategy: None leaves the chat's.
        sampling: fields of `engine.SamplingParams` to replace.
    """

    strategy: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)


class WorkspaceListener(ChatsListener, Protocol):
    """What a screen implements to follow the chats and the model being loaded."""

    def loading_changed(self) -> None:
        """The loader's `name` or `progress` changed."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The chats of a running application, and what works for them."""

    chats: Chats
    remembering: Remembering
    loader: ModelLoader
    consolidating: Consolidating


class Runtime:
    """Engine, memory, catalogue and settings of one running application; a `ChatBackend`.

    Args:
        engine_factory: makes an engine of its settings; None makes an `engine.Engine`.
    """

    def __init__(
        self,
        *,
        paths: Paths,
        config: Config,
        catalogue: Catalogue,
        memory: Memory,
        engine_factory: Callable[[EngineConfig], Engine] | None = None,
    ) -> None:
        self.paths = paths
        self.config = config
        self.catalogue = catalogue
        self.memory = memory
        self.model = CurrentModel(
            config, paths, catalogue, on_engine=self._use_engine, engine_factory=engine_factory
        )

    @classmethod
    async def open(
        cls, paths: Paths, config: Config, *, database: Path | None = None, meaning: bool = False
    ) -> Runtime:
        """Open the catalogue and the store; no model is loaded yet.

        Args:
            database: the SQLite file; None is the one in the data folder.
            meaning: let strategies search by meaning, not only by words; worth it only for a process that
                lives long enough to load the embedding model. Ignored where the settings turn long-term
                memory off.

        Raises:
            ConfigFileError: a catalogue is not valid.
            FolderNotWritable, memory.StoreError: the store cannot be opened.
        """
        catalogue = await asyncio.to_thread(Catalogue.load, builtin_catalogue_path(), paths.user_catalogue)
        wanted = meaning and config.memory.enabled
        memory = await asyncio.to_thread(open_store, paths, config.memory, database, meaning=wanted)
        return cls(paths=paths, config=config, catalogue=catalogue, memory=memory)

    def open_workspace(self, listener: WorkspaceListener) -> Workspace:
        """Put together the chats that `listener` follows; nothing is read or started yet."""
        chats = Chats(
            self,
            listener,
            drafts=Drafts(self.paths.drafts),
            explain=lambda error: describe(error).text,
        )
        settings = self.config.memory
        consolidating = Consolidating(
            self, chats, summaries=settings.summaries, facts=settings.facts_by_model == "auto"
        )
        self.model.subscribe(consolidating.disturb)
        remembering = Remembering(
            self.memory,
            chats,
            settings=self.config.memory,
            drop_cache=self.model.forget,
            on_forgotten=consolidating.look_again,
        )
        loader = ModelLoader(self.model, chats, listener.loading_changed)
        return Workspace(chats, remembering, loader, consolidating)

    @property
    def engine(self) -> Engine | None:
        """None until a model is loaded, and after a failed change of model."""
        return self.model.engine

    @property
    def has_model(self) -> bool:
        """Whether a model is loaded."""
        return self.model.engine is not None

    @property
    def model_name(self) -> str | None:
        """The loaded model, as it was asked for."""
        return self.model.name

    def source(self) -> TextSource:
        """The loaded model, for one request. Raises NoModelLoaded."""
        return self.model.source()

    async def load_model(
        self, name: str, on_progress: Progress | None = None, *, reload: bool = False
    ) -> ModelInfo:
        """See `CurrentModel.load`."""
        return await self.model.load(name, on_progress, reload=reload)

    async def create_session(self, title: str | None = None, **settings: Any) -> SessionRecord:
        """Store a new chat of the project that stevemin runs in, with the scope of the settings file.

        Args:
            title, settings: as `Memory.create_session` takes them.

        Raises:
            memory.StoreError
        """
        return await asyncio.to_thread(self._create_session, title, settings)

    async def delete_session(self, session_id: str) -> None:
        """Delete a chat from the store and its KV cache from the engine. Raises memory.StoreError."""
        await asyncio.to_thread(self.memory.delete_session, session_id)
        self.model.forget(session_id)

    def chat_session(self, record: SessionRecord, overrides: Overrides | None = None) -> ChatSession:
        """A stored chat that asks the loaded model.

        Raises:
            NoModelLoaded: load one first.
            engine.InvalidRequest: an overridden sampling value is out of range.
        """
        settings = self.session_settings(record, overrides)
        return ChatSession(record.id, memory=self.memory, source=self.source(), settings=settings)

    def session_settings(self, record: SessionRecord, overrides: Overrides | None = None) -> SessionSettings:
        """How a chat asks: by the overrides, else by its own settings, else by the settings file.

        Raises:
            NoModelLoaded, engine.EngineClosed, engine.InvalidRequest
        """
        if self.model.engine is None or self.model.name is None:
            raise NoModelLoaded
        overrides = overrides or Overrides()
        return SessionSettings(
            strategy=overrides.strategy or record.strategy or self.config.strategy,
            sampling=self.config.sampling.params(**overrides.sampling),
            system_prompt=self.config.system_prompt,  # the memory prefers the chat's own
            context_tokens=self.model.engine.info.context_tokens,
            model=self.model.name,
        )

    def focus(self, session_id: str | None) -> None:
        """Serve this chat before the others; None favours none. Never blocks."""
        self.model.focus(session_id)

    async def close(self) -> None:
        """Stop the engine, then close the store. May be called twice."""
        try:
            await self.model.close()
        finally:
            await asyncio.to_thread(self.memory.close)

    def _create_session(self, title: str | None, settings: Mapping[str, Any]) -> SessionRecord:
        record = self.memory.create_session(title, project=project_folder(), **settings)
        scope = self.config.memory.scope
        return record if record.scope == scope else self.memory.set_session(record.id, scope=scope)

    def _use_engine(self, engine: Engine | None) -> None:
        """Let the memory count, summarise and look for facts with the loaded model."""
        if engine is None:
            self.memory.counter = self.memory.extractor = None
            return
        loop = asyncio.get_running_loop()
        self.memory.counter = EngineCounter(engine)
        self.memory.summarizer = EngineSummarizer(engine, loop)
        self.memory.extractor = EngineExtractor(engine, loop, engine.info.path)
