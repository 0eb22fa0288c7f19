"""Chats without a store: the input of strategies, and how much of a prompt a KV cache saves."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from word_counter import WordCounter, count_words

from memory import AssembledContext, Budget, Message, Recall, Role, TokenCounter, Turn
from memory.context.layers import MEMORIES_HEADING
from memory.context.strategies import Assembly, ContextInput, Strategy, find_strategy
from memory.types import Fact, Summary

__all__ = [
    "Chat",
    "OddCounter",
    "bare",
    "is_prefix",
    "memories_of",
    "prefilled",
    "recall",
    "rendered",
    "words",
]

_BEGIN = datetime(2026, 11, 20, 9, tzinfo=UTC)


def words(count: int, word: str = "word") -> str:
    return " ".join([word] * count)


def recall(
    text: str,
    score: float = 1.0,
    *,
    message_id: str = "",
    at: str = "2026-10-01T12:00:00.000000+00:00",
    passage_id: int = 0,
    role: Role = "user",
    coverage: float = 0.0,
) -> Recall:
    """A recall of a message of another session, unless one is named."""
    return Recall(
        message_id or f"old {text}",
        score,
        len(text.split()),
        at=at,
        text=text,
        passage_id=passage_id,
        role=role,
        signals={"coverage around": coverage},
    )


class OddCounter(WordCounter):
    """Texts take more tokens together than apart, and so do texts that share a turn."""

    def count_text(self, text: str) -> int:
        return count_words(text) * 4 // 3

    def count_prompt(self, messages: Sequence[Turn]) -> int:
        tokens = super().count_prompt(messages)
        return tokens + sum(
            count_words(turn.content) // 3 + 8 * turn.content.count("\n\n") + 1 for turn in messages
        )


@dataclass
class Chat:
    """A growing branch, and what is remembered for it. One message per minute."""

    budget: int
    system: str | None = None
    strategy: str | Strategy = "sliding"
    messages: list[Message] = field(default_factory=list)
    window_starts: set[str] = field(default_factory=set)
    start_summaries: dict[str, int] = field(default_factory=dict)
    summaries: list[Summary] = field(default_factory=list)
    profile: list[Fact] = field(default_factory=list)
    counter: TokenCounter = field(default_factory=WordCounter)
    evictions: int = 0

    def _now(self, seconds: int = 0) -> str:
        """A time between the last message and the next: second 30."""
        return (_BEGIN + timedelta(minutes=len(self.messages), seconds=seconds)).isoformat(
            timespec="microseconds"
        )

    def add(self, role: Role, content: str) -> Message:
        message = Message(
            id=uuid.uuid4().hex,
            session_id="s",
            parent_id=self.messages[-1].id if self.messages else None,
            role=role,
            content=content,
            status="complete",
            created_at=self._now(30),
        )
        self.messages.append(message)
        return message

    def say(self, *texts: str) -> list[Message]:
        """User and assistant take turns."""
        roles: tuple[Role, Role] = ("user", "assistant")
        start = len(self.messages)
        return [self.add(roles[(start + number) % 2], text) for number, text in enumerate(texts)]

    def summarise(self, text: str, sources: Iterable[Message], level: int = 0) -> Summary:
        ids = tuple(message.id for message in sources)
        summary = Summary(len(self.summaries) + 1, "s", level, text, ids, self._now())
        self.summaries.append(summary)
        return summary

    def learn(self, text: str, *, pinned: bool = True) -> Fact:
        now = self._now()
        fact = Fact(len(self.profile) + 1, text, "fact", (), pinned, False, now, now)
        self.profile.append(fact)
        return fact

    def given(self, recalls: Sequence[Recall] = (), load: float = 0.0) -> ContextInput:
        return ContextInput(
            messages=tuple(self.messages),
            budget=Budget(self.budget),
            counter=self.counter,
            system_prompt=self.system,
            window_starts=frozenset(self.window_starts),
            start_summaries=dict(self.start_summaries),
            recalls=tuple(recalls),
            summaries=tuple(self.summaries),
            profile=tuple(self.profile),
            load=load,
        )

    def build(self, recalls: Sequence[Recall] = (), load: float = 0.0) -> AssembledContext:
        strategy = find_strategy(self.strategy) if isinstance(self.strategy, str) else self.strategy
        assembly = strategy.assemble(self.given(recalls, load))
        self._remember(assembly)
        return assembly.context

    def _remember(self, assembly: Assembly) -> None:
        if assembly.window_start is not None:
            self.evictions += 1
            self.window_starts.add(assembly.window_start)
            self.start_summaries[assembly.window_start] = assembly.start_summary


def memories_of(context: AssembledContext) -> str:
    """The quotation in the last turn; empty without one."""
    blocks = context.messages[-1].content.split("\n\n")
    return next((block for block in blocks if block.startswith(MEMORIES_HEADING)), "")


def bare(context: AssembledContext) -> tuple[Turn, ...]:
    """The prompt as the history will contain it: without the memories."""
    *before, last = context.messages
    quotation = memories_of(context)
    content = last.content.replace(f"{quotation}\n\n", "", 1) if quotation else last.content
    return (*before, Turn(last.role, content))


def is_prefix(before: tuple[Turn, ...], after: tuple[Turn, ...]) -> bool:
    """Whether the rendered text of `before` starts that of `after`: a merged question grows at its end."""
    if len(after) < len(before):
        return False
    *same, last = before
    grown = after[len(same)]
    return (
        list(after[: len(same)]) == same
        and grown.role == last.role
        and grown.content.startswith(last.content)
    )


def rendered(turns: Iterable[Turn]) -> list[str]:
    """A prompt as tokens."""
    tokens = []
    for turn in turns:
        tokens += [f"<{turn.role}>", *turn.content.split(), "<end>"]
    return [*tokens, "<assistant>"]


def prefilled(cache: Sequence[str], prompt: Sequence[str]) -> int:
    """How many tokens of a prompt must be computed, given the tokens in the KV cache."""
    same = 0
    for cached, token in zip(cache, prompt, strict=False):
        if cached != token:
            break
        same += 1
    return len(prompt) - same
