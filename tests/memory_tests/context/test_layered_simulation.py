"""How many tokens a long chat prefills if the KV cache holds the last prompt and reply."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache

import pytest
from memory_tests.context.context_kit import Chat, prefilled, recall, rendered
from word_counter import WordCounter

from memory import Message, Recall, Turn

BUDGET, MEMORY_TOKENS = 4096, 512
# Turns: a short chat for every run, a long one for the campaign.
LENGTHS = [200, pytest.param(1000, marks=pytest.mark.campaign)]


def said(dice: random.Random, least: int, most: int) -> str:
    return " ".join(str(dice.random()) for _ in range(dice.randint(least, most)))


def memories(dice: random.Random, limit: int) -> list[Recall]:
    """New memories for each question, as many as fit."""
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


def prefill_per_turn(
    prompt_of: Callable[[Chat, random.Random], Sequence[Turn]], strategy: str, turns: int
) -> float:
    """Tokens prefilled per turn; the chat is the same for all strategies."""
    talk, search = random.Random(7), random.Random(8)
    chat = Chat(BUDGET, strategy=strategy)
    cache: list[str] = []
    total = summarised = 0
    for _ in range(turns):
        chat.add("user", f"{said(talk, 10, 60)} ?")
        prompt = rendered(prompt_of(chat, search))
        assert len(prompt) <= BUDGET
        total += prefilled(cache, prompt)
        reply = said(talk, 40, 160)
        cache = [*prompt, *reply.split()]
        chat.add("assistant", reply)
        while len(chat.messages) - summarised >= 12:  # an idle engine summarises what is not too recent
            chat.summarise(said(talk, 30, 50), chat.messages[summarised : summarised + 8])
            summarised += 8
    return total / turns


def window(chat: Chat, _: random.Random) -> Sequence[Turn]:
    return newest_that_fit(chat.messages, BUDGET)


def build(memory_tokens: int, every: int = 1) -> Callable[[Chat, random.Random], Sequence[Turn]]:
    """Every `every`-th question finds something."""

    def prompt(chat: Chat, dice: random.Random) -> Sequence[Turn]:
        finds = len(chat.messages) // 2 % every == 0
        return chat.build(memories(dice, memory_tokens) if finds else ()).messages

    return prompt


@cache
def sliding(turns: int) -> float:
    """The cost of a window that slides with every turn."""
    return prefill_per_turn(window, "sliding", turns)


@pytest.mark.parametrize("turns", LENGTHS)
def test_a_sliding_window_prefills_nearly_all_of_it_every_turn(turns: int) -> None:
    assert sliding(turns) > 0.7 * BUDGET


@pytest.mark.parametrize(("every", "bar"), [(3, 0.15), (2, 0.2), (1, 0.3)])
@pytest.mark.parametrize("turns", LENGTHS)
def test_all_layers_cost_a_fraction_of_a_sliding_window(every: int, bar: float, turns: int) -> None:
    layered = prefill_per_turn(build(MEMORY_TOKENS, every), "hierarchical", turns)
    assert layered / sliding(turns) <= bar


@pytest.mark.parametrize("strategy", ["hierarchical", "adaptive", "summary", "sliding"])
@pytest.mark.parametrize("turns", LENGTHS)
def test_without_memories_nearly_every_turn_prefills_only_what_is_new(strategy: str, turns: int) -> None:
    assert prefill_per_turn(build(0), strategy, turns) / sliding(turns) <= 0.12
