"""Renders a prompt as turns that every chat template accepts.

A branch is split into what is always sent and the exchanges that may be left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import groupby

from memory.context.layers import EMPTY, NO_MEMORIES, Layer, Memories
from memory.types import Message, Role, Turn

__all__ = ["Branch", "Draft", "flatten", "render"]

_JOINT = "\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a prompt contains besides what is always sent.

    Args:
        first: number of the first exchange that is sent.
    """

    first: int
    profile: Layer = EMPTY
    summary: Layer = EMPTY
    memories: Memories = NO_MEMORIES


def render(branch: Branch, draft: Draft) -> tuple[Turn, ...]:
    """The prompt: system, profile and summary | history | memories and the question.

    What is stable comes first, so that the model's KV cache survives a turn. The history only grows at
    its end; memories precede the newest user message and are gone from the next prompt.

    Chat templates may require a single system message at the front and strictly alternating roles, but a
    failed reply leaves two user messages in a row: adjacent messages of one role become one turn.
    """
    head = _JOINT.join(
        text for text in (*branch.system_texts, draft.profile.text, draft.summary.text) if text
    )
    turns = [Turn("system", head)] if head else []
    kept = branch.window(draft.first)
    question = max((place for place, message in enumerate(kept) if message.role == "user"), default=None)
    texts: list[tuple[Role, str]] = []
    for place, message in enumerate(kept):
        if place == question and draft.memories.text:
            texts.append((message.role, draft.memories.text))
        texts.append((message.role, message.content))
    for role, neighbours in groupby(texts, key=lambda pair: pair[0]):
        turns.append(Turn(role, _JOINT.join(text for _, text in neighbours)))
    return tuple(turns)


class Branch:
    """A branch, split into what is always sent, exchanges that may be left out, and empty replies.

    An exchange is a user message with the replies that follow it; the last one is the question.
    A prompt is identified by the number of the first exchange that it sends.

    Attributes:
        system_texts: the system prompt and the system messages of the branch.
        pinned: the system messages of the branch.
        empty: replies without text and forgotten messages, which are never sent.
        order: the position of each message, by id.
    """

    def __init__(self, messages: Sequence[Message], system_prompt: str | None) -> None:
        self.pinned = [message for message in messages if message.role == "system"]
        self.system_texts = [
            text for text in (system_prompt, *(message.content for message in self.pinned)) if text
        ]
        self.empty = [message for message in messages if _is_empty(message)]
        self.order = {message.id: place for place, message in enumerate(messages)}
        self.exchanges: list[list[Message]] = []
        for message in messages:
            if message.role != "system" and not _is_empty(message):
                if message.role == "user" or not self.exchanges:
                    self.exchanges.append([])
                self.exchanges[-1].append(message)

    @property
    def last(self) -> int:
        """The number of the question; 0 in an empty branch."""
        return max(0, len(self.exchanges) - 1)

    def start(self, window_starts: Set[str]) -> int:
        """The exchange of the latest window start on this branch; 0 without one."""
        for number in range(self.last, 0, -1):
            if self.exchanges[number][0].id in window_starts:
                return number
        return 0

    def window(self, first: int) -> list[Message]:
        """The messages from exchange `first` on: sent word for word."""
        return flatten(self.exchanges[first:])

    def evicted(self, first: int) -> list[Message]:
        """The messages before exchange `first`."""
        return flatten(self.exchanges[:first])

    def sent(self, first: int) -> set[str]:
        """The ids of all messages that a prompt from exchange `first` on has word for word."""
        return {message.id for message in (*self.pinned, *self.window(first))}


def flatten(exchanges: Iterable[Sequence[Message]]) -> list[Message]:
    """The messages of several exchanges."""
    return [message for exchange in exchanges for message in exchange]


def _is_empty(message: Message) -> bool:
    return message.forgotten or (message.role == "assistant" and not message.content.strip())
