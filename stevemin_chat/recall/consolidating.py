"""Has summaries made while the engine has nothing to do and the person does nothing either."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING

from engine.errors import EngineClosed
from memory import STRATEGIES, CounterMissing, SessionNotFound, SessionRecord
from stevemin_chat.base.errors import NoModelLoaded
from stevemin_chat.runtime import Overrides, Runtime

if TYPE_CHECKING:
    from memory import Budget
    from stevemin_chat.chats.chats import Chats

__all__ = ["Consolidating"]

_log = logging.getLogger(__name__)

_MOST_CHATS = 8  # a chat that was used before these can wait until it is used again

_Prompt = tuple[str | None, str, "Budget"]  # head, strategy, budget: what a session's summaries depend on


class Consolidating:
    """One task on the event loop; the work itself is done on threads, one summary at a time.

    Attributes:
        summarising: the session of which a summary is being made; None while none is.
        pause_s: begin when nobody has wanted anything for so long.
        after_error_s: wait for so long after an error.
    """

    def __init__(self, runtime: Runtime, chats: Chats) -> None:
        self.summarising: str | None = None
        self.pause_s = 2.0
        self.after_error_s = 60.0
        self._runtime = runtime
        self._chats = chats
        self._disturbed = asyncio.Event()
        self._given_up = Event()  # of the summary being made; its thread asks for it
        self._finished: dict[str, _Prompt] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; does nothing the second time."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="consolidating")

    async def stop(self) -> None:
        """Give up the summary being made and end. Waits for no thread, so it takes no time."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    def disturb(self) -> None:
        """The person or a chat wants something: the summary being made is given up, and made later."""
        self._given_up.set()
        self._disturbed.set()

    def look_again(self) -> None:
        """Summaries were removed, though their chats have not changed: something was forgotten."""
        self._finished.clear()
        self.disturb()

    async def _run(self) -> None:
        while True:
            await self._quiet()
            try:
                while (more := await self._make_next()) and self._is_idle():
                    pass
            except (NoModelLoaded, EngineClosed):
                continue  # the model has gone, or has crashed, since `_quiet` looked
            except Exception as error:
                # The words of an error may quote the chat, which has no place in a log.
                _log.warning("No summaries for a while, after an error: %s.", type(error).__name__)
                await asyncio.sleep(self.after_error_s)
                continue
            if not more:
                await self._disturbed.wait()

    async def _quiet(self) -> None:
        """Returns when nobody has wanted anything for a while and the engine is idle."""
        while True:
            self._disturbed.clear()
            try:
                async with asyncio.timeout(self.pause_s):
                    await self._disturbed.wait()
            except TimeoutError:
                if self._is_idle():
                    return

    def _is_idle(self) -> bool:
        engine = self._runtime.engine
        if engine is None or self._chats.busy or self._disturbed.is_set():
            return False
        stats = engine.stats()
        return not stats.active and not stats.waiting

    async def _make_next(self) -> bool:
        """Make one summary; False when there is none to make, or when it was given up."""
        for record in list(self._candidates()):
            settings = self._runtime.session_settings(record, Overrides())
            prompt = (record.head_id, settings.strategy, settings.budget)
            strategy = STRATEGIES.get(settings.strategy)
            if strategy is None or not strategy.summarises or self._finished.get(record.id) == prompt:
                continue
            if await self._make(record.id, prompt):
                return True
            if self._disturbed.is_set():
                return False
        return False

    def _candidates(self) -> Iterator[SessionRecord]:
        """The chat on the screen, then those used last."""
        visible = self._chats.visible
        latest = [chat for chat in self._chats.all if chat is not visible][:_MOST_CHATS]
        for chat in (visible, *latest):
            if chat is not None and chat.record is not None:
                yield chat.record

    async def _make(self, session_id: str, prompt: _Prompt) -> bool:
        """Make the most urgent summary of a session, or note that there is none."""
        engine = self._runtime.engine
        self._finished[session_id] = prompt  # stays so after an error, which must not be met again and again
        made = await self._consolidate(session_id, prompt)
        if engine is not self._runtime.engine:
            self.disturb()  # the model that was asked has gone
        if made or self._disturbed.is_set():
            self._finished.pop(session_id, None)
        return made

    async def _consolidate(self, session_id: str, prompt: _Prompt) -> bool:
        _, strategy, budget = prompt
        # A thread that is given up may live on for a moment: it keeps the event that it was given.
        given_up = self._given_up = Event()
        self.summarising = session_id
        try:
            summary = await asyncio.to_thread(
                self._runtime.memory.consolidate,
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
