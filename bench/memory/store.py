"""Fills a memory for a benchmark: conversations recorded, vectors made, tokens counted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from time import sleep
from typing import Self

import numpy as np

from bench.cli import BenchError, find_model
from bench.memory.locomo import Spoken
from engine import EngineConfig
from memory import Embedder, IndexState, Memory, Turn
from memory.ports import Vectors

__all__ = ["Fallbacks", "SharedEmbedder", "StarterTokens", "record", "wait_for_index"]


def record(memory: Memory, sessions: Iterable[Sequence[Spoken]]) -> dict[str, str]:
    """Store past sessions; returns the names of their turns by message id."""
    name_of: dict[str, str] = {}
    for said in sessions:
        session = memory.create_session(said[0].at)
        for turn in said:
            message = memory.add_message(session.id, turn.role, turn.text, at=turn.at)
            name_of[message.id] = turn.name
    return name_of


def wait_for_index(memory: Memory) -> None:
    """Wait until every passage has its vector.

    Raises:
        BenchError: search by meaning is unavailable.
    """
    memory.start_indexing()
    while not _is_done(memory):
        sleep(0.02)


def _is_done(memory: Memory) -> bool:
    status = memory.index_status()
    if status.state in (IndexState.UNAVAILABLE, IndexState.OFF):
        raise BenchError(f"Search by meaning is unavailable: {status.reason}")
    stats = memory.long_term.stats()
    return status.state is IndexState.READY and stats.embedded == stats.passages


class Fallbacks(logging.Handler):
    """Counts the searches that fall back to keywords, which the memory only logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0
        self._logger = logging.getLogger("memory.vectors")

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count one warning about a search."""
        self.count += record.getMessage().startswith("Search by meaning")


class StarterTokens:
    """A `memory.TokenCounter` with the starter model's tokenizer."""

    def __init__(self) -> None:
        from engine.llama import LlamaBackend

        model = find_model("starter")
        small = EngineConfig(model_path=model, max_sessions=1, cached_sessions=0, context_tokens=512)
        self._backend = LlamaBackend(small)

    def count_text(self, text: str) -> int:
        return len(self._backend.tokenize(text))

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        from engine import ChatMessage

        rendered = self._backend.render([ChatMessage(turn.role, turn.content) for turn in messages])
        return len(self._backend.tokenize(rendered, parse_special=True))


class SharedEmbedder:
    """One embedder and its cached vectors for several memories with the same texts; its maker closes it."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[tuple[str, bool], Vectors] = {}  # a question's vector may not be a passage's

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def recipe(self) -> str:
        return self._embedder.recipe

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    @property
    def ready(self) -> bool:
        return self._embedder.ready

    def start(self) -> None:
        self._embedder.start()

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if (text, query) not in self._known]
        if new:
            found = self._embedder.embed(new, query=query)
            self._known.update(zip([(text, query) for text in new], found, strict=True))
        return np.stack([self._known[text, query] for text in texts])

    def close(self) -> None:
        """Do nothing: another memory may still use it."""
