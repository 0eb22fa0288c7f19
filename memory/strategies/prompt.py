"""From messages of a branch to a prompt that every chat template can render, and to its report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from memory.strategies.base import ContextInput
from memory.types import AssembledContext, ContextReport, Dropped, LayerReport, Message, Turn

__all__ = ["Branch", "report_context"]

_JOINT = "\n\n"


class Branch:
    """A branch, split into what is always sent, exchanges that may be left out, and empty replies.

    An exchange is a user message with the replies that follow it; the last one is the question.
    """

    def __init__(self, given: ContextInput) -> None:
        self._system = [given.system_prompt] if given.system_prompt else []
        self.pinned = [message for message in given.messages if message.role == "system"]
        self.empty = [message for message in given.messages if _is_empty_reply(message)]
        self.exchanges: list[list[Message]] = []
        for message in given.messages:
            if message.role != "system" and not _is_empty_reply(message):
                if message.role == "user" or not self.exchanges:
                    self.exchanges.append([])
                self.exchanges[-1].append(message)

    def turns(self, first: int) -> tuple[Turn, ...]:
        """The prompt that begins with exchange number `first`.

        Chat templates may demand one system message at the front and strictly alternating roles, but a
        failed reply leaves two user messages in a row: neighbours of the same role become one turn.
        """
        system = _JOINT.join([*self._system, *(message.content for message in self.pinned)])
        turns = [Turn("system", system)] if system else []
        kept = (message for exchange in self.exchanges[first:] for message in exchange)
        for role, neighbours in groupby(kept, key=lambda message: message.role):
            turns.append(Turn(role, _JOINT.join(message.content for message in neighbours)))
        return tuple(turns)

    def evicted(self, first: int) -> list[Message]:
        """The messages that come before exchange number `first`."""
        return flatten(self.exchanges[:first])

    def system_text(self) -> list[str]:
        """The texts of the first turn."""
        return [*self._system, *(message.content for message in self.pinned)]


def flatten(exchanges: Iterable[Sequence[Message]]) -> list[Message]:
    """The messages of several exchanges."""
    return [message for exchange in exchanges for message in exchange]


def report_context(
    strategy: str, given: ContextInput, branch: Branch, first: int, tokens: int
) -> AssembledContext:
    """The context that begins with exchange `first` and was measured as `tokens`, with its account."""
    count = given.counter.count_text
    history = flatten(branch.exchanges[first:-1])
    question = flatten(branch.exchanges[-1:])
    layers = [
        LayerReport("system", sum(map(count, branch.system_text())), len(branch.system_text())),
        _layer("history", given, history),
        _layer("question", given, question),
    ]
    text_tokens = sum(layer.tokens for layer in layers)
    layers.append(LayerReport("template", tokens - text_tokens, 0))
    evicted = branch.evicted(first)
    sent = {message.id for message in (*branch.pinned, *history, *question)}
    reasons = {message.id: "does not fit" for message in evicted} | {
        message.id: "empty reply" for message in branch.empty
    }
    dropped = tuple(
        Dropped(message.id, message.role, count(message.content), reasons[message.id])
        for message in given.messages
        if message.id in reasons
    )
    report = ContextReport(
        strategy=strategy,
        budget_tokens=given.budget.tokens,
        reply_tokens=given.budget.reply_tokens,
        tokens=tokens,
        layers=tuple(layers),
        sent=tuple(message.id for message in given.messages if message.id in sent),
        dropped=dropped,
        notice=_notice(dropped, given.budget.tokens),
    )
    return AssembledContext(branch.turns(first), report)


def _is_empty_reply(message: Message) -> bool:
    return message.role == "assistant" and not message.content.strip()


def _layer(name: str, given: ContextInput, messages: Sequence[Message]) -> LayerReport:
    return LayerReport(name, sum(given.counter.count_text(item.content) for item in messages), len(messages))


def _notice(dropped: Sequence[Dropped], budget_tokens: int) -> str | None:
    evicted = [item for item in dropped if item.reason == "does not fit"]
    if not evicted:
        return None
    tokens = sum(item.tokens for item in evicted)
    noun = "message was" if len(evicted) == 1 else "messages were"
    return (
        f"{len(evicted):,} older {noun} left out ({tokens:,} tokens): "
        f"the prompt may take {budget_tokens:,} tokens."
    )
