"""Frozen values that tell what the memory did: assembled prompts, recalls, index progress, statistics.

Sizes are in tokens, times are UTC in ISO 8601.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from memory.types import PromptSources, QuoteOrigin, Speaker, Turn, cited

__all__ = [
    "AssembledContext",
    "Budget",
    "ContextReport",
    "DocumentsReport",
    "Dropped",
    "FactsCheck",
    "IndexState",
    "IndexStatus",
    "LayerReport",
    "MemoryStats",
    "Recall",
    "SearchCounts",
]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a prompt may cost.

    Args:
        tokens: limit for the rendered prompt; the reply's share is already deducted.
        reply_tokens: the share reserved for the reply; only the report uses it.
    """

    tokens: int
    reply_tokens: int = 0


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer of the prompt: the tokens of its text, and how many messages or facts it draws on."""

    name: str
    tokens: int
    messages: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message of the branch, or a recall, that was left out, and why.

    Args:
        score: of a recall.
        place: of a document's passage, as "docs/memory.md:12-30".
    """

    message_id: str
    role: Speaker
    tokens: int
    reason: str
    score: float | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class Recall:
    """An excerpt of an older message, or of a document, that a search found.

    Args:
        message_id, session_id: empty for a document.
        tokens: of `text`.
        excerpt: what a prompt quotes of the text; None: all of it.
        signals: the terms of the score, by name.
        passage_id: orders the excerpts of one message; those of adjacent passages differ by one.
        origin: how the text got into the message; None for its author's own words.
        instructions: it is not the author's own, and tells a model what to do.
        file, first_line, last_line, name: see `Passage`.
    """

    message_id: str
    score: float
    tokens: int
    session_id: str = ""
    role: Speaker = "user"
    at: str = ""
    text: str = ""
    excerpt: str | None = None
    signals: Mapping[str, float] = field(default_factory=dict)
    passage_id: int = 0
    origin: QuoteOrigin | None = None
    instructions: bool = False
    file: str | None = None
    first_line: int | None = None
    last_line: int | None = None
    name: str = ""

    @property
    def source(self) -> str:
        """What it is an excerpt of: the message's id or the file."""
        return self.message_id if self.file is None else self.file

    @property
    def place(self) -> str:
        """Where it stands in a document, as "docs/memory.md:12-30"; empty for a message."""
        return "" if self.file is None else cited(self.name, self.first_line, self.last_line)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextReport:
    """What went into a prompt, what it cost, and what was left out.

    Args:
        tokens: the exact length of the rendered prompt.
        layers: "system", "profile", "summary", "history", "memories", "question" and "template"
            (role marks and the like), which add up to `tokens`.
        sent: ids of the messages that are in the prompt word for word, oldest first.
        dropped: all other messages of the branch.
        recalls: excerpts of older messages, in the prompt's order.
        notice: tells the user what the model does not see.
        dropped_recalls: what the search found and the prompt does not quote, best first.
        facts, dropped_facts: ids of those in the profile, and of those that did not fit.
        summaries, dropped_summaries: the same for summaries.
        focus: how the strategy classified the question, if that mattered: "past", "follow-up" or
            "plain".
        reordered: the recalls were chosen in the order of a reranker.
    """

    strategy: str
    budget_tokens: int
    reply_tokens: int
    tokens: int
    layers: tuple[LayerReport, ...]
    sent: tuple[str, ...]
    dropped: tuple[Dropped, ...] = ()
    recalls: tuple[Recall, ...] = ()
    notice: str | None = None
    dropped_recalls: tuple[Dropped, ...] = ()
    facts: tuple[int, ...] = ()
    dropped_facts: tuple[int, ...] = ()
    summaries: tuple[int, ...] = ()
    dropped_summaries: tuple[int, ...] = ()
    focus: str | None = None
    reordered: bool = False

    def quotes(self, message_ids: Set[str]) -> bool:
        """Whether one of the recalls quotes one of these messages."""
        return any(recall.message_id in message_ids for recall in self.recalls)

    @property
    def sources(self) -> PromptSources:
        """What the prompt drew on besides the chat's newest messages."""
        said = [recall.message_id for recall in self.recalls if recall.file is None]
        read = [recall.place for recall in self.recalls if recall.file is not None]
        warned = [recall.place or recall.message_id for recall in self.recalls if recall.instructions]
        return PromptSources(
            strategy=self.strategy,
            memories=tuple(dict.fromkeys(said)),
            facts=self.facts,
            summaries=self.summaries,
            documents=tuple(dict.fromkeys(read)),
            instructions=tuple(dict.fromkeys(warned)),
        )

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AssembledContext:
    """The messages to send, and the report on how they were chosen."""

    messages: tuple[Turn, ...]
    report: ContextReport


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsReport:
    """What adding or syncing documents did.

    Args:
        added, changed, unchanged, removed: files.
        left_out: how many files and folders are no documents, by reason.
        missing: roots of which nothing is there any more.
        stopped: the caller stopped it; what was done until then is kept.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsCheck:
    """What was found in the labelled messages that decide whether a model may look for facts.

    Args:
        model: identifies it, as `FactExtractor.model` does.
        check: names the messages and the request.
        kept: statements that would have been stored; right: those that are labelled.
        labelled: statements that are labelled; found: those that were kept.
        by_kind: found and labelled, by kind.
        checked_at: empty if it was not stored.
    """

    LEAST_PRECISION: ClassVar[float] = 0.95
    LEAST_RIGHT: ClassVar[int] = 40  # one that finds next to nothing proves nothing

    model: str
    check: str
    messages: int
    kept: int
    right: int
    labelled: int
    found: int
    by_kind: Mapping[str, tuple[int, int]]
    checked_at: str = ""

    @property
    def precision(self) -> float | None:
        """The share of what was kept that is right; None if nothing was."""
        return self.right / self.kept if self.kept else None

    @property
    def recall(self) -> float:
        """The share of what is labelled that was found."""
        return self.found / self.labelled if self.labelled else 0.0

    @property
    def passed(self) -> bool:
        """Whether the model may look for facts."""
        return self.right >= self.LEAST_RIGHT and self.right >= self.LEAST_PRECISION * self.kept

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        kinds = {kind: {"found": found, "labelled": all_} for kind, (found, all_) in self.by_kind.items()}
        precision = None if self.precision is None else round(self.precision, 4)
        rest = {"precision": precision, "recall": round(self.recall, 4), "passed": self.passed}
        return asdict(self) | {"by_kind": kinds} | rest


class IndexState(StrEnum):
    """What search by meaning can do now."""

    OFF = "off"  # there is no embedder
    STARTING = "starting"
    INDEXING = "indexing"  # searches what is indexed so far
    READY = "ready"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """Indexing progress.

    Args:
        embedded: how many of the passages have a vector.
        passages: how many passages there are.
        reason: a sentence, when the index is unavailable.
        switching: the vectors are another model's than before, whose vectors answer until all are made.
    """

    state: IndexState
    embedded: int = 0
    passages: int = 0
    reason: str | None = None
    switching: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCounts:
    """How many searches there were, by how much of them was known from an earlier one.

    Args:
        hits: those that searched for nothing: the same question, and nothing had changed.
        partial: those that looked only at what had changed.
        misses: all others.
    """

    hits: int = 0
    partial: int = 0
    misses: int = 0

    def __add__(self, other: SearchCounts) -> SearchCounts:
        return SearchCounts(
            hits=self.hits + other.hits,
            partial=self.partial + other.partial,
            misses=self.misses + other.misses,
        )

    def __bool__(self) -> bool:
        return bool(self.hits or self.partial or self.misses)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStats:
    """How much is remembered.

    Args:
        sessions: all chats.
        off_record: chats of which nothing is remembered.
        messages: those that a search can find.
        embedded: passages with a vector, of the next embedder if there is one.
        embedder: the model whose vectors answer searches; None while there is none.
        next_embedder: the model that will answer when all passages have its vector.
        timeouts: searches of this process that used words only, since the vectors did not answer in time.
        rerank_timeouts: searches of this process that kept their order, since the reranker did not answer in
            time.
        searches: of this process and of those that have ended.
        database_bytes, index_bytes: on disk.
    """

    remembering: bool
    sessions: int
    off_record: int
    messages: int
    forgotten: int
    passages: int
    embedded: int
    facts: int
    pinned: int
    summaries: int
    database_bytes: int
    index_bytes: int
    index: IndexStatus
    timeouts: int = 0
    rerank_timeouts: int = 0
    embedder: str | None = None
    next_embedder: str | None = None
    searches: SearchCounts = SearchCounts()

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain JSON values."""
        return asdict(self)
