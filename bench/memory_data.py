"""LoCoMo (Maharana et al., ACL 2024; CC BY-NC 4.0): long chats of two people, with questions about them.

The data is not part of this project. A question names the turns that answer it, so recall can be measured
without a model's judgement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from memory import Role

__all__ = ["Conversation", "Question", "Spoken", "load"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One turn: the first speaker is the person, the second the model. `at` is UTC, in ISO 8601."""

    name: str
    role: Role
    text: str
    at: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the names of the turns that answer it.

    Args:
        category: 1 multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial.
    """

    text: str
    category: int
    evidence: frozenset[str]

    def share(self, names: Iterable[str]) -> float:
        """How much of the evidence is among these turns."""
        return len(self.evidence.intersection(names)) / len(self.evidence)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What two people said in each of their sessions, and what can be asked about it."""

    name: str
    sessions: tuple[tuple[Spoken, ...], ...]
    questions: tuple[Question, ...]


def load(path: Path) -> list[Conversation]:
    """The conversations of a LoCoMo file.

    Raises:
        BenchError: it is not one.
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
    return f"{turn['speaker']}: {turn['text']}{caption}"


def _time(text: str) -> str:
    moment = datetime.strptime(re.sub(r"\s+", " ", text), "%I:%M %p on %d %B, %Y")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
