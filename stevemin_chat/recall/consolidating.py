"""Makes summaries and looks for facts while the engine is idle and the person does nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING, Protocol

from engine.errors import EngineClosed
from memory import STRATEGIES, CounterMissing, SessionNotFound, SessionRecord
from stevemin_chat.base import NoModelLoaded

if TYPE_CHECKING:
    from engine import Engine
    from memory import Budget, Memory
    from stevemin_chat.chats import Chats, SessionSettings

__all__ = ["Consolidating", "ConsolidatingBackend"]

_log = logging.getLogger(__name__)

_MOST_CHATS = 8  # older chats wait until they are used again

_Prompt = tuple[str | None, str, "Budget"]  # head, strategy, budget: what a chat's summaries depend on


class ConsolidatingBackend(Protocol):
    """What this needs; the runtime is one."""

    @property
    def engine(self) -> Engine | None:
        """The engine that does the work; None while no model is loaded."""
        ...

    @property
    def memory(self) -> Memory:
        """The store; its methods block."""
        ...

    def session_settings(self, record: SessionRecord) -> SessionSettings:
        """How a chat asks. Raises NoModelLoaded, engine.EngineClosed."""
        ...


class Consolidating:
    """One task on the event loop; threads do the work, one summary or one reading at a time.

    Facts are looked for when no summary is due.

    Args:
        summaries, facts: what to do.

    Attributes:
        summarising: id of the chat that is being summarised; None while none is.
        reading: whether the model is looking for facts.
        pause_s: seconds of quiet before the work begins.
        after_error_s: seconds to wait after an error.
    """

    def __init__(
        self, backend: ConsolidatingBackend, chats: Chats, *, summaries: bool = True, facts: bool = False
    ) -> None:
        self.summarising: str | None = None
        self.reading = False
        self.pause_s = 2.0
        self.after_error_s = 60.0
        self._backend = backend
        self._chats = chats
        self._disturbed = asyncio.Event()
        self._summaries = summaries
        self._facts = facts
        self._given_up = Event()  # polled by the thread that does the work
        self._finished: dict[str, _Prompt] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; a second call does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="consolidating")

    async def stop(self) -> None:
        """Abandon the work and end. Waits for no thread, so it takes no time."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    def disturb(self) -> None:
        """Abandon the work, because the person or a chat wants something; it is done later."""
        self._given_up.set()
        self._disturbed.set()

    def look_again(self) -> None:
        """Check every chat again: forgetting has deleted summaries, though the chats have not changed."""
        self._finished.clear()
        self.disturb()

    async def _run(self) -> None:
        while True:
            await self._quiet()
            try:
                while (more := await self._make_next()) and self._is_idle():
                    pass
            except (NoModelLoaded, EngineClosed):
                continue  # the model is gone, or has crashed, since `_quiet` looked
            except Exception as error:
                # An error's words may quote the chat, which must not reach a log.
                _log.warning(
                    "No summaries and no facts for %.0f s after an error: %s.",
                    self.after_error_s,
                    type(error).__name__,
                )
                await asyncio.sleep(self.after_error_s)
                continue
            if not more:
                await self._disturbed.wait()

    async def _quiet(self) -> None:
        """Wait until the engine is idle and nobody has wanted anything for `pause_s`."""
        while True:
            self._disturbed.clear()
            try:
                async with asyncio.timeout(self.pause_s):
                    await self._disturbed.wait()
            except TimeoutError:
                if self._is_idle():
                    return

    def _is_idle(self) -> bool:
        engine = self._backend.engine
        if engine is None or self._chats.busy or self._disturbed.is_set():
            return False
        stats = engine.stats()
        return not stats.active and not stats.waiting

    async def _make_next(self) -> bool:
        """Make one summary, or else look for facts once; False when nothing is due, or it was abandoned."""
        if self._summaries and await self._summarise():
            return True
        return self._facts and not self._disturbed.is_set() and await self._read_facts()

    async def _summarise(self) -> bool:
        for record in list(self._recent_records()):
            settings = self._backend.session_settings(record)
            prompt = (record.head_id, settings.strategy, settings.budget)
            strategy = STRATEGIES.get(settings.strategy)
            if strategy is None or not strategy.summarises or self._finished.get(record.id) == prompt:
                continue
            if await self._make(record.id, prompt):
                return True
            if self._disturbed.is_set():
                return False
        return False

    def _recent_records(self) -> Iterator[SessionRecord]:
        """The visible chat, then those used last."""
        visible = self._chats.visible
        latest = [chat for chat in self._chats.all if chat is not visible][:_MOST_CHATS]
        for chat in (visible, *latest):
            if chat is not None and chat.record is not None:
                yield chat.record

    async def _make(self, session_id: str, prompt: _Prompt) -> bool:
        """Make the most urgent summary of a chat, or note that none is due."""
        engine = self._backend.engine
        self._finished[session_id] = prompt  # stays so after an error, or it would recur endlessly
        made = await self._consolidate(session_id, prompt)
        if engine is not self._backend.engine:
            self.disturb()  # the model that was asked is gone
        if made or self._disturbed.is_set():
            self._finished.pop(session_id, None)
        return made

    async def _consolidate(self, session_id: str, prompt: _Prompt) -> bool:
        _, strategy, budget = prompt
        # An abandoned thread may live on for a moment; it keeps the event that it was given.
        given_up = self._given_up = Event()
        self.summarising = session_id
        try:
            summary = await asyncio.to_thread(
                self._backend.memory.consolidate,
                session_id,
                strategy=strategy,
                budget=budget,
                cancelled=given_up.is_set,
            )
        except (CounterMissing, SessionNotFound):  # the model is being changed; the chat was deleted
            return False
        finally:
            given_up.set()  # also when this task was cancelled
            self.summarising = None
        return summary is not None

    async def _read_facts(self) -> bool:
        engine = self._backend.engine
        given_up = self._given_up = Event()
        self.reading = True
        try:
            read = await asyncio.to_thread(self._backend.memory.read_facts, cancelled=given_up.is_set)
        finally:
            given_up.set()  # also when this task was cancelled
            self.reading = False
        if engine is not self._backend.engine:
            self.disturb()  # the model that was asked is gone
        return read is not None
