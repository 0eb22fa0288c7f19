"""Tokenising while other threads use the vocabulary, and while the model is unloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from engine import EngineClosed, EngineConfig
from engine.llama.backend import LlamaBackend
from engine.llama.lib import lib


@pytest.fixture
def backend(starter_model: Path) -> Iterator[LlamaBackend]:
    backend = LlamaBackend(EngineConfig(model_path=starter_model, context_tokens=512))
    yield backend
    backend.close()


class Slow:
    """A call of `llama_tokenize` that lasts until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = Event(), Event()
        self._real: Any = lib.llama_tokenize
        monkeypatch.setattr(lib, "llama_tokenize", self)

    def __call__(self, *args: Any) -> Any:
        self.begun.set()
        assert self.go_on.wait(60)
        return self._real(*args)


def test_a_long_prompt_does_not_keep_others_from_the_vocabulary(
    backend: LlamaBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)
    tokenising = Thread(target=backend.tokenize, args=("a long text",))
    tokenising.start()
    assert slow.begun.wait(60)
    pieces: list[bytes] = []
    reading = Thread(target=lambda: pieces.append(backend.piece(4321)))  # one not seen before
    reading.start()
    reading.join(60)
    assert pieces, "a token was read meanwhile"
    slow.go_on.set()
    tokenising.join(60)


def test_closing_waits_for_whoever_tokenises(backend: LlamaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    found: list[list[int]] = []
    tokenising = Thread(target=lambda: found.append(backend.tokenize("hello")))
    tokenising.start()
    assert slow.begun.wait(60)
    closing = Thread(target=backend._vocab.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    slow.go_on.set()
    closing.join(60)
    assert not closing.is_alive()
    assert found[0]
    with pytest.raises(EngineClosed):
        backend.tokenize("hello")
