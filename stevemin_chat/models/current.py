"""The loaded model: its engine, and exchanging it for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from engine import check_gguf
from engine.errors import EngineClosed, EngineError, LoadCancelled, ModelError
from stevemin_chat.base import ModelSwitchFailed, NoModelLoaded
from stevemin_chat.chats import undisturbed

if TYPE_CHECKING:
    from engine import Engine, EngineConfig, ModelInfo
    from stevemin_chat.base import Config, Paths
    from stevemin_chat.models.catalogue import Catalogue

__all__ = ["CurrentModel"]

Progress = Callable[[float], None]


class CurrentModel:
    """At most one engine at a time. Lives on the event loop.

    Args:
        on_engine: called with each engine that is ready, and with None before one is closed.
        engine_factory: makes an engine of its settings; None makes an `engine.Engine`.

    Attributes:
        engine: None until a model is loaded, and after a failed change of model.
        name: the model as it was asked for; None while none is loaded.
        last_name: the model that was loaded last, to return to after a stopped load.
    """

    def __init__(
        self,
        config: Config,
        paths: Paths,
        catalogue: Catalogue,
        *,
        on_engine: Callable[[Engine | None], None],
        engine_factory: Callable[[EngineConfig], Engine] | None = None,
    ) -> None:
        self.engine: Engine | None = None
        self.name: str | None = None
        self.last_name: str | None = None
        self._config = config
        self._paths = paths
        self._catalogue = catalogue
        self._on_engine = on_engine
        self._engine_factory = engine_factory
        self._subscribers: list[Callable[[], None]] = []
        self._focused: str | None = None
        self._changing = asyncio.Lock()

    def subscribe(self, on_submit: Callable[[], None]) -> None:
        """Call `on_submit` each time `source` hands out the engine."""
        self._subscribers.append(on_submit)

    def source(self) -> Engine:
        """The engine, for one request that a person waits for; subscribers are told.

        Raises:
            NoModelLoaded: there is no engine.
        """
        for on_submit in self._subscribers:
            on_submit()
        if self.engine is None:
            raise NoModelLoaded
        return self.engine

    def focus(self, session_id: str | None) -> None:
        """Serve this chat before the others, in this engine and in later ones; None favours none.

        Never blocks.
        """
        self._focused = session_id
        if self.engine is not None:
            self.engine.focus(session_id)

    def forget(self, session_id: str) -> None:
        """Drop what the engine caches of a chat. Never blocks."""
        if self.engine is not None:
            self.engine.forget(session_id)

    async def check(self, name: str) -> Path:
        """The file of a model.

        Raises:
            engine.ModelNotFound, engine.ModelCorrupt: there is no such file, or it is not a GGUF.
        """
        return await asyncio.to_thread(self._file, name)

    async def load(
        self, name: str, on_progress: Progress | None = None, *, reload: bool = False
    ) -> ModelInfo:
        """Load a model in place of the current one; streams of the old engine end with `EngineClosed`.

        The old model is given up only after `check`. If the new one cannot be loaded then, the old one is
        loaded again. A cancelled load leaves no model.

        Args:
            name: catalogue name, path to a `.gguf`, or `OWNER/REPO:FILE`.
            on_progress: called on the event loop with 0 to 1.
            reload: load even if this model is loaded already.

        Raises:
            engine.ModelNotFound, engine.ModelCorrupt: nothing was changed, or there was no old model.
            engine.ModelError: the first model that is loaded cannot chat, or not be used at all.
            ModelSwitchFailed: the load failed; says whether the old model is loaded again.
            engine.LoadCancelled: the load was stopped.
        """
        async with self._changing:
            path = await self.check(name)
            loaded = self._loaded()
            if loaded is not None and not reload and loaded.path == path:
                self.name = self.last_name = name
                return loaded
            before = self.name
            await self._drop()
            try:
                return await self._start(name, path, on_progress)
            except LoadCancelled:
                raise
            except (EngineError, OSError, MemoryError) as error:
                if before is None:
                    raise
                kept = await self._load_again(before, on_progress)
                raise ModelSwitchFailed(name, error, kept) from error

    async def close(self) -> None:
        """Stop the engine. May be called twice."""
        async with self._changing:
            await self._drop()

    def _loaded(self) -> ModelInfo | None:
        try:
            return self.engine.info if self.engine is not None else None
        except EngineClosed:  # it has crashed: asking for the same model must make a new engine
            return None

    def _file(self, name: str) -> Path:
        path = self._catalogue.resolve(name, self._paths.models_dir)
        check_gguf(path)
        return path

    async def _start(self, name: str, path: Path, on_progress: Progress | None) -> ModelInfo:
        of_model = self._catalogue.get(name).engine_settings if name in self._catalogue else {}
        settings = self._config.engine.for_model(path, parked_folder=self._paths.parked_dir, **of_model)
        engine = await self._make(settings)
        try:
            await engine.start(on_progress)
            _check_writes_text(engine.info)
        except BaseException:
            await undisturbed(engine.close())
            raise
        self.engine = engine
        engine.focus(self._focused)
        self._on_engine(engine)
        self.name = self.last_name = name
        return engine.info

    async def _make(self, settings: EngineConfig) -> Engine:
        if self._engine_factory is not None:
            return self._engine_factory(settings)
        engine = await asyncio.to_thread(import_module, "engine.engine")  # too slow for the event loop
        made: Engine = engine.Engine(settings)
        return made

    async def _load_again(self, name: str, on_progress: Progress | None) -> str | None:
        try:
            await self._start(name, await self.check(name), on_progress)
        except (EngineError, OSError, MemoryError):
            return None
        return name

    async def _drop(self) -> None:
        engine, self.engine, self.name = self.engine, None, None
        self._on_engine(None)
        if engine is not None:
            # Never leave a closing engine alone: the next one would be loaded beside it.
            await undisturbed(engine.close())


def _check_writes_text(info: ModelInfo) -> None:
    """Refuse a model that embeds or reranks. Raises `ModelError`."""
    if info.kind != "text":
        raise ModelError(
            f"{info.name} is {info.kind_of_model}: it cannot chat. Choose a model that writes text."
        )
