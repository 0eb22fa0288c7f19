"""A long chat out of a LoCoMo conversation: what was said before it, what is said in it, what is asked."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.errors import BenchError
from bench.memory_data import Conversation, Question, Spoken

__all__ = ["Line", "Talk", "talk_of"]


@dataclass(frozen=True, slots=True)
class Line:
    """One message of the person.

    Args:
        at: UTC, in ISO 8601.
        name: of the turn it repeats; None for a question.
    """

    text: str
    at: str
    name: str | None = None
    question: Question | None = None


@dataclass(frozen=True, slots=True)
class Talk:
    """A chat, and the sessions that were over when it began."""

    name: str
    past: tuple[tuple[Spoken, ...], ...]
    lines: tuple[Line, ...]


def talk_of(conversation: Conversation, turns: int, ask_every: int) -> Talk:
    """The end of a conversation as one chat, both speakers' turns said by the person.

    Every so many lines a question comes, by turns about what was said in this chat and about anything; what
    it asks for was said before it.

    Raises:
        BenchError: the conversation is too short.
    """
    spoken = [turn for said in conversation.sessions for turn in said]
    told = turns - turns // ask_every
    if told > len(spoken):
        raise BenchError(f"{conversation.name} has {len(spoken)} turns: ask for fewer than {turns}.")
    past, live = spoken[: len(spoken) - told], spoken[len(spoken) - told :]
    asking = _Asking(conversation, past)
    lines: list[Line] = []
    at = past[-1].at if past else ""
    for number in range(1, turns + 1):
        question = asking.next() if number % ask_every == 0 else None
        if question is None and live:
            turn = live.pop(0)
            at = turn.at
            asking.hears(turn)
            lines.append(Line(turn.text, at, name=turn.name))
        elif question is not None:
            lines.append(Line(question.text, at, question=question))
    if len(lines) < turns:
        raise BenchError(
            f"{conversation.name} has turns and questions for {len(lines)} turns, not for {turns}."
        )
    return Talk(conversation.name, _sessions(past), tuple(lines))


class _Asking:
    """Chooses questions that what was said answers, each of them once."""

    def __init__(self, conversation: Conversation, past: Iterable[Spoken]) -> None:
        self._questions = list(conversation.questions)
        random.Random(conversation.name).shuffle(self._questions)
        self._said = {turn.name for turn in past}
        self._lately: set[str] = set()
        self._about_lately = False

    def hears(self, turn: Spoken) -> None:
        self._said.add(turn.name)
        self._lately.add(turn.name)

    def next(self) -> Question | None:
        self._about_lately = not self._about_lately
        known = [question for question in self._questions if question.evidence <= self._said]
        late = [question for question in known if question.evidence & self._lately]
        chosen = next(iter(late if self._about_lately and late else known), None)
        if chosen is not None:
            self._questions.remove(chosen)
        return chosen


def _sessions(turns: Sequence[Spoken]) -> tuple[tuple[Spoken, ...], ...]:
    return tuple(tuple(said) for _, said in groupby(turns, key=lambda turn: turn.at))
