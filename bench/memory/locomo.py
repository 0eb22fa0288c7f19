"""LoCoMo (Maharana et al., ACL 2024; CC BY-NC 4.0): long chats of two people, with questions about them.

The data is not part of this project. A question names the turns that answer it, so recall can be measured
without a model's judgement. `talk_of` makes one long chat of a conversation, with past sessions before it.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.cli import BenchError
from memory import Role

__all__ = ["Conversation", "Line", "Question", "Spoken", "Talk", "load", "talk_of"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One turn; the first speaker plays the person, the second the model. `at` is UTC in ISO 8601."""

    name: str
    role: Role
    text: str
    at: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the names of the turns that answer it.

    Args:
        category: 1 multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial.
    """

    text: str
    category: int
    evidence: frozenset[str]

    def share(self, names: Iterable[str]) -> float:
        """The share of the evidence among these turns."""
        return len(self.evidence.intersection(names)) / len(self.evidence)


@dataclass(frozen=True, slots=True)
class Conversation:
    """The sessions of two people, and the questions about them."""

    name: str
    sessions: tuple[tuple[Spoken, ...], ...]
    questions: tuple[Question, ...]


def load(path: Path) -> list[Conversation]:
    """The conversations of a LoCoMo file.

    Raises:
        BenchError: the file cannot be read or is of another kind.
    """
    try:
        return [_conversation(item) for item in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} is not a LoCoMo file: {error}") from error


def _conversation(item: dict[str, Any]) -> Conversation:
    chat, sessions, number = item["conversation"], [], 1
    while turns := chat.get(f"session_{number}"):
        at = _time(chat[f"session_{number}_date_time"])
        sessions.append(tuple(Spoken(turn["dia_id"], _role(turn, chat), _text(turn), at) for turn in turns))
        number += 1
    known = {turn.name for said in sessions for turn in said}
    asked = (
        Question(str(qa["question"]), qa["category"], frozenset(qa.get("evidence", ())) & known)
        for qa in item["qa"]
    )
    return Conversation(item["sample_id"], tuple(sessions), tuple(q for q in asked if q.evidence))


def _role(turn: dict[str, Any], chat: dict[str, Any]) -> Role:
    return "user" if turn["speaker"] == chat["speaker_a"] else "assistant"


def _text(turn: dict[str, Any]) -> str:
    caption = f" [shares {turn['blip_caption']}]" if turn.get("blip_caption") else ""
    return f"{turn['text']}{caption}"  # who said it is in the role, as in the application


def _time(text: str) -> str:
    moment = datetime.strptime(re.sub(r"\s+", " ", text), "%I:%M %p on %d %B, %Y")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Line:
    """One message of the person.

    Args:
        at: UTC in ISO 8601.
        name: the turn it repeats; None for a question.
    """

    text: str
    at: str
    name: str | None = None
    question: Question | None = None


@dataclass(frozen=True, slots=True)
class Talk:
    """A chat, and the sessions before it."""

    name: str
    past: tuple[tuple[Spoken, ...], ...]
    lines: tuple[Line, ...]


def talk_of(conversation: Conversation, turns: int, ask_every: int) -> Talk:
    """The end of a conversation as one chat, both speakers' turns said by the person.

    Every `ask_every` lines the person asks a question, alternately about this chat and about anything; its
    evidence is always said before it.

    Raises:
        BenchError: the conversation is too short.
    """
    spoken = [turn for said in conversation.sessions for turn in said]
    repeated = turns - turns // ask_every
    if repeated > len(spoken):
        raise BenchError(f"{conversation.name} has {len(spoken)} turns: ask for fewer than {turns}.")
    past, live = spoken[: len(spoken) - repeated], spoken[len(spoken) - repeated :]
    asking = _Asking(conversation, past)
    lines: list[Line] = []
    at = past[-1].at if past else ""
    for number in range(1, turns + 1):
        question = asking.next() if number % ask_every == 0 else None
        if question is None and live:
            turn = live.pop(0)
            at = turn.at
            asking.hear(turn)
            lines.append(Line(turn.text, at, name=turn.name))
        elif question is not None:
            lines.append(Line(question.text, at, question=question))
    if len(lines) < turns:
        raise BenchError(f"{conversation.name} is enough for {len(lines)} turns, not for {turns}.")
    return Talk(conversation.name, _sessions(past), tuple(lines))


class _Asking:
    """Picks questions that the turns so far answer, each once."""

    def __init__(self, conversation: Conversation, past: Iterable[Spoken]) -> None:
        self._questions = list(conversation.questions)
        random.Random(conversation.name).shuffle(self._questions)
        self._said = {turn.name for turn in past}
        self._lately: set[str] = set()
        self._about_lately = False

    def hear(self, turn: Spoken) -> None:
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
