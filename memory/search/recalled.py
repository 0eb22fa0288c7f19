"""What a search contributes to a prompt: how many passages, and which of their sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

from memory.ports import TokenCounter
from memory.reports import Recall
from memory.search.excerpt import Excerpts
from memory.search.rank import Ranked
from memory.text import cues_of, has_instructions

__all__ = ["Recalled", "how_many", "to_recall"]

# A passage that is less likely than the best by more than a factor of e to this says little.
_FLOOR = 4.5
_FLOOR_UNASKED = 3.2  # the same for a question that does not point to the past
# Without a cue a question hardly needs the past; one about the person who asks may.
_FEW_MEMORIES, _OWN_MEMORIES = 3, 7


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the past contributes to a message.

    Args:
        ranked: the passages, best first; empty for a message that needs nothing from the past.
        most: how many a prompt should quote; None if the message itself points to the past: as many as fit.
        excerpts: takes out of them what a prompt quotes.
        reordered: a reranker has put the best into its own order; scores stay those of the ranking.
    """

    ranked: Sequence[Ranked] = ()
    most: int | None = _FEW_MEMORIES
    excerpts: Excerpts = field(default_factory=lambda: Excerpts(()))
    reordered: bool = False

    def recalls(self, counter: TokenCounter | None, limit: int) -> list[Recall]:
        """The best as callers of the memory see them, with excerpts of what was said.

        A passage of a document is quoted whole: it is cited by its lines.
        """
        excerpts = (
            self.excerpts.of(item.passage.text, rank) if item.passage.file is None else None
            for rank, item in enumerate(self.ranked[:limit])
        )
        return [to_recall(*each) for each in zip(self.ranked, repeat(counter), excerpts, strict=False)]

    def worth_quoting(self) -> Recalled:
        """Without those that are much weaker than the best."""
        below = _FLOOR if self.most is None else _FLOOR_UNASKED
        floor = max((item.score for item in self.ranked), default=0.0) - below
        return replace(self, ranked=[item for item in self.ranked if item.score >= floor])


def how_many(question: str) -> int | None:
    """How many memories a prompt should quote; None if the question points to the past: all that fit."""
    cues = cues_of(question)
    if cues.recalls or cues.past:
        return None
    return _OWN_MEMORIES if cues.personal else _FEW_MEMORIES


def to_recall(ranked: Ranked, counter: TokenCounter | None, excerpt: str | None = None) -> Recall:
    """A ranked passage as callers of the memory see it; 0 tokens without a counter.

    Args:
        excerpt: what a prompt quotes of it, if not all.
    """
    passage = ranked.passage
    own_words = passage.origin is None and passage.file is None
    return Recall(
        message_id=passage.message_id,
        score=ranked.score,
        tokens=counter.count_text(passage.text) if counter is not None else 0,
        session_id=passage.session_id,
        role=passage.role,
        passage_id=passage.id,
        at=passage.at,
        text=passage.text,
        excerpt=excerpt if excerpt != passage.text else None,
        signals=ranked.signals,
        origin=passage.origin,
        instructions=not own_words and has_instructions(passage.text),
        file=passage.file,
        first_line=passage.first_line,
        last_line=passage.last_line,
        name=passage.name,
    )
