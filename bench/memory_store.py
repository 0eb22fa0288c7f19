"""A memory for a benchmark: conversations entered, vectors made, tokens counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import sleep

import numpy as np

from bench.errors import BenchError
from bench.memory_data import Spoken
from bench.models import find_model
from engine import EngineConfig
from memory import Embedder, IndexState, Memory, Turn
from memory.ports import Vectors

__all__ = ["SharedEmbedder", "StarterTokens", "enter", "wait_for_index"]


def enter(memory: Memory, sessions: Iterable[Sequence[Spoken]]) -> dict[str, str]:
    """Store sessions that are over; the names of the turns by message id."""
    name_of: dict[str, str] = {}
    for said in sessions:
        session = memory.create_session(said[0].at)
        for turn in said:
            message = memory.add_message(session.id, turn.role, turn.text, at=turn.at)
            name_of[message.id] = turn.name
    return name_of


def wait_for_index(memory: Memory) -> None:
    """Until every passage has its vector.

    Raises:
        BenchError: that is impossible.
    """
    memory.start_indexing()
    while not _is_done(memory):
        sleep(0.02)


def _is_done(memory: Memory) -> bool:
    status = memory.index_status()
    if status.state in (IndexState.UNAVAILABLE, IndexState.OFF):
        raise BenchError(f"There is no search by meaning: {status.reason}")
    stats = memory.long_term.stats()
    return status.state is IndexState.READY and stats.embedded == stats.passages


class StarterTokens:
    """Counts with the starter model's tokenizer; a `memory.TokenCounter`."""

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
    """One embedder for several memories that hear the same. Whoever made it closes it, not the memories."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Vectors] = {}

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    @property
    def ready(self) -> bool:
        return self._embedder.ready

    def start(self) -> None:
        self._embedder.start()

    def embed(self, texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._embedder.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def close(self) -> None:
        """Nothing: another memory may need it."""
