"""From the parts of a prompt to turns that every chat template can render."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from memory.strategies.branch import Branch
from memory.strategies.layers import EMPTY, Layer
from memory.strategies.memories import NO_MEMORIES, Memories
from memory.types import Role, Turn

__all__ = ["JOINT", "Draft", "render"]

JOINT = "\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a prompt is made of besides what is always sent.

    Args:
        first: the number of the first exchange that is sent.
    """

    first: int
    profile: Layer = EMPTY
    summary: Layer = EMPTY
    memories: Memories = NO_MEMORIES


def render(branch: Branch, draft: Draft) -> tuple[Turn, ...]:
    """The prompt: system, profile and summary | history | memories and the question.

    What is stable comes first, so that the model's KV cache survives a turn. The history only grows at
    its end; memories stand before the newest user message and are gone in the next prompt.

    Chat templates may demand one system message at the front and strictly alternating roles, but a
    failed reply leaves two user messages in a row: neighbours of the same role become one turn.
    """
    head = JOINT.join(text for text in (*branch.system_texts, draft.profile.text, draft.summary.text) if text)
    turns = [Turn("system", head)] if head else []
    kept = branch.window(draft.first)
    question = max((place for place, message in enumerate(kept) if message.role == "user"), default=None)
    texts: list[tuple[Role, str]] = []
    for place, message in enumerate(kept):
        if place == question and draft.memories.text:
            texts.append((message.role, draft.memories.text))
        texts.append((message.role, message.content))
    for role, neighbours in groupby(texts, key=lambda pair: pair[0]):
        turns.append(Turn(role, JOINT.join(text for _, text in neighbours)))
    return tuple(turns)
