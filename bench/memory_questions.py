"""Asks a memory, and says what of the evidence came back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from bench.memory_data import Question
from memory import Budget, Memory, Message, Recall, TokenCounter
from memory.context import ContextInput, HierarchicalStrategy, Shares

__all__ = ["AT", "PROMPTS", "TOKENS", "Answer", "Questions"]

AT = (5, 10, 25, 50)
TOKENS = (512, 1024, 2048)
PROMPTS = (2048, 4096, 8192)
_MOST = 400
_CHOICE = 50  # of so many recalls a strategy chooses, in `Memory.build_context`


@dataclass(frozen=True, slots=True)
class Answer:
    """How one question fared.

    Args:
        at: recall among the first k recalls; found: among those whose texts fit so many tokens.
        quoted: in the prompt of `hierarchical` when its memories may take so many tokens.
        in_prompt: the same when the whole prompt may take so many; empty unless asked for.
        gated: nothing was quoted because the question seems to want nothing out of the past.
        seconds: the search took.
    """

    conversation: str
    category: int
    at: Mapping[int, float]
    found: Mapping[int, float]
    quoted: Mapping[int, float]
    in_prompt: Mapping[int, float]
    gated: bool
    seconds: float


class Questions:
    """Asks about a conversation that a memory holds.

    Args:
        name_of: the turns' names by message id.
        prompts: whether to build whole prompts, too.
    """

    def __init__(
        self, memory: Memory, name_of: Mapping[str, str], counter: TokenCounter, *, prompts: bool = True
    ) -> None:
        self._memory = memory
        self._name_of = name_of
        self._counter = counter
        self._prompts = PROMPTS if prompts else ()
        self._chat = memory.create_session("questions").id
        memory.set_session(self._chat, off_record=True)  # or one question would find another

    def ask(self, conversation: str, question: Question) -> Answer:
        """One question, in a new chat."""
        start = perf_counter()
        recalls = self._memory.search(question.text, limit=_MOST)
        seconds = perf_counter() - start
        asked = self._memory.add_message(self._chat, "user", question.text, parent_id=None)
        shown = self._memory.search(question.text, limit=_CHOICE, gated=True)
        names = list(dict.fromkeys(self._names(recalls)))
        return Answer(
            conversation,
            question.category,
            at={k: question.share(names[:k]) for k in AT},
            found={n: question.share(self._names(_fitting(recalls, n))) for n in TOKENS},
            quoted={n: question.share(self._names(self._quoted(asked, shown, n))) for n in TOKENS},
            in_prompt={n: question.share(self._names(self._built(n))) for n in self._prompts},
            gated=not shown,
            seconds=seconds,
        )

    def _quoted(self, asked: Message, recalls: Sequence[Recall], tokens: int) -> Sequence[Recall]:
        strategy = HierarchicalStrategy(Shares(memories=1.0, most_memories=tokens))
        given = ContextInput(
            messages=(asked,), budget=Budget(4 * tokens), counter=self._counter, recalls=tuple(recalls)
        )
        return strategy.assemble(given).context.report.recalls

    def _built(self, tokens: int) -> Sequence[Recall]:
        built = self._memory.build_context(self._chat, strategy="hierarchical", budget=Budget(tokens))
        return built.report.recalls

    def _names(self, recalls: Iterable[Recall]) -> list[str]:
        return [self._name_of[recall.message_id] for recall in recalls]


def _fitting(recalls: Iterable[Recall], tokens: int) -> Iterator[Recall]:
    for recall in recalls:
        if recall.tokens <= tokens:
            tokens -= recall.tokens
            yield recall
