"""All chats over a real store, a scripted source and a listener that takes notes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_tests.chats.fake_source import FakeSource, FakeStream
from waiting import until

from memory import Memory, SessionRecord
from stevemin_chat.base.errors import NoModelLoaded
from stevemin_chat.chats import Chat, Chats, Drafts, SessionSettings

__all__ = ["Backend", "Listener", "blocked", "idle", "open_chats", "said"]


class Backend:
    """A `ChatBackend` without an engine."""

    def __init__(self, memory: Memory, *streams: FakeStream | Exception) -> None:
        self.memory = memory
        self.model = FakeSource(*streams)
        self.has_model = True
        self.focused: list[str | None] = []

    def source(self) -> FakeSource:
        return self.model

    def session_settings(self, record: SessionRecord) -> SessionSettings:
        if not self.has_model:
            raise NoModelLoaded
        return SessionSettings(context_tokens=1000, model="fake", strategy=record.strategy or "hierarchical")

    async def create_session(self, title: str) -> SessionRecord:
        return await asyncio.to_thread(self.memory.create_session, title)

    async def delete_session(self, session_id: str) -> None:
        await asyncio.to_thread(self.memory.delete_session, session_id)

    def focus(self, session_id: str | None) -> None:
        self.focused.append(session_id)


class Listener:
    """A `ChatsListener` that records every event except redraws."""

    def __init__(self) -> None:
        self.returned: list[str] = []
        self.errors: list[Exception] = []

    def chats_changed(self) -> None: ...

    def chat_changed(self, chat: Chat) -> None: ...

    def entries_changed(self, chat: Chat) -> None: ...

    def draft_forgotten(self, chat: Chat) -> None: ...

    def text_returned(self, chat: Chat, text: str) -> None:
        self.returned.append(text)

    def chat_failed(self, chat: Chat, error: Exception) -> None:
        self.errors.append(error)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


def open_chats(backend: Backend, folder: Path, listener: Listener | None = None) -> Chats:
    drafts = Drafts(folder / "drafts.json")
    return Chats(backend, listener or Listener(), drafts=drafts, explain=str)


def said(memory: Memory, chat: Chat) -> list[str]:
    """What is stored of a chat."""
    assert chat.record is not None
    return [message.content for message in memory.messages(chat.record.id)]


async def idle(chat: Chat) -> None:
    await until(lambda: not chat.busy)


class Gate:
    """Blocks a call of the store until the test releases it.

    Attributes:
        entered: set when the call has arrived.
        error: raised in place of the call.
    """

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.error: Exception | None = None
        self._open = threading.Event()

    def open(self, error: Exception | None = None) -> None:
        self.error = error
        self._open.set()

    def wait(self) -> None:
        self.entered.set()
        assert self._open.wait(60)
        if self.error is not None:
            raise self.error


@contextmanager
def blocked(monkeypatch: pytest.MonkeyPatch, memory: Memory, method: str) -> Iterator[Gate]:
    """Calls of a method of the store wait, as on a database that another process has locked."""
    gate, work = Gate(), getattr(memory, method)

    def wait_first(*args: Any, **kwargs: Any) -> Any:
        gate.wait()
        return work(*args, **kwargs)

    monkeypatch.setattr(memory, method, wait_first)
    try:
        yield gate
    finally:
        gate.open(gate.error)
        monkeypatch.setattr(memory, method, work)
