"""How many tokens a long chat makes the model read, if the KV cache keeps the last prompt and reply."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from memory_tests.context.context_kit import Chat, prefilled, recall, rendered
from memory_tests.word_counter import WordCounter

from memory import Message, Recall, Turn

BUDGET, TURNS, MEMORY_TOKENS = 4096, 200, 512


def said(dice: random.Random, least: int, most: int) -> str:
    return " ".join(str(dice.random()) for _ in range(dice.randint(least, most)))


def memories(dice: random.Random, limit: int) -> list[Recall]:
    """New ones for each question, as many as fit."""
    return [
        recall(said(dice, 25, 35), 1 - number / 100, message_id=f"{dice.random()}")
        for number in range(limit // 30)
    ]


def newest_that_fit(messages: Sequence[Message], budget: int) -> tuple[Turn, ...]:
    """A window that slides with every turn, by whole exchanges."""
    turns: tuple[Turn, ...] = ()
    for place in range(len(messages) - 1, -1, -2):
        more = tuple(Turn(message.role, message.content) for message in messages[place:])
        if WordCounter().count_prompt(more) > budget:
            break
        turns = more
    return turns


def prefill_per_turn(prompt_of: Callable[[Chat, random.Random], Sequence[Turn]], strategy: str) -> float:
    """Tokens read per turn; the chat is the same for all."""
    talk, search = random.Random(7), random.Random(8)
    chat = Chat(BUDGET, strategy=strategy)
    cache: list[str] = []
    total = summarised = 0
    for _ in range(TURNS):
        chat.add("user", f"{said(talk, 10, 60)} ?")
        prompt = rendered(prompt_of(chat, search))
        assert len(prompt) <= BUDGET
        total += prefilled(cache, prompt)
        reply = said(talk, 40, 160)
        cache = [*prompt, *reply.split()]
        chat.add("assistant", reply)
        while len(chat.messages) - summarised >= 12:  # an idle engine sums up what is not too recent
            chat.summarise(said(talk, 30, 50), chat.messages[summarised : summarised + 8])
            summarised += 8
    return total / TURNS


def window(chat: Chat, _: random.Random) -> Sequence[Turn]:
    return newest_that_fit(chat.messages, BUDGET)


def build(memory_tokens: int, every: int = 1) -> Callable[[Chat, random.Random], Sequence[Turn]]:
    """Every so many questions find something."""

    def prompt(chat: Chat, dice: random.Random) -> Sequence[Turn]:
        finds = len(chat.messages) // 2 % every == 0
        return chat.build(memories(dice, memory_tokens) if finds else ()).messages

    return prompt


@pytest.fixture(scope="module")
def sliding() -> float:
    """What a window costs that slides with every turn: nearly all of it, each time."""
    tokens = prefill_per_turn(window, "sliding")
    assert tokens > 0.7 * BUDGET
    return tokens


@pytest.mark.parametrize(("every", "bar"), [(3, 0.15), (2, 0.2), (1, 0.3)])
def test_all_layers_cost_a_fraction_of_a_window_that_slides(every: int, bar: float, sliding: float) -> None:
    assert prefill_per_turn(build(MEMORY_TOKENS, every), "hierarchical") / sliding <= bar


@pytest.mark.parametrize("strategy", ["hierarchical", "adaptive", "summary", "sliding"])
def test_without_memories_nearly_every_turn_reads_only_what_is_new(strategy: str, sliding: float) -> None:
    assert prefill_per_turn(build(0), strategy) / sliding <= 0.12
