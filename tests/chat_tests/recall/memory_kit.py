"""Stored chats for tests of the memory's words and screens."""

from __future__ import annotations

from memory import Budget, Memory, Summary

DOG = "I have a dog called Rex, he is four years old and afraid of thunder."
CALM = "For thunder a quiet room without windows helps, and some music."
TEA = "I prefer tea to coffee after dinner."
FACT = "I live in Porto."
WISH = "I prefer short answers."
SMALL = Budget(60)  # with a counter of words


def remember(memory: Memory) -> dict[str, str]:
    """Two chats of another day, with facts in them; message ids by a word of theirs."""
    pets = memory.create_session("Pets at home")
    dog = memory.add_message(pets.id, "user", DOG, at="2026-03-02T09:12:00+00:00")
    calm = memory.add_message(pets.id, "assistant", CALM, at="2026-03-02T09:13:00+00:00")
    dinner = memory.create_session("Dinner")
    tea = memory.add_message(dinner.id, "user", TEA, at="2026-04-11T18:40:00+00:00")
    mint = memory.add_message(
        dinner.id, "assistant", "Then mint leaves go well with it.", at="2026-04-11T18:41:00+00:00"
    )
    return {"dog": dog.id, "calm": calm.id, "tea": tea.id, "mint": mint.id}


def long_chat(memory: Memory, turns: int) -> str:
    """A chat of n exchanges about a garden; its id."""
    record = memory.create_session("Garden")
    for number in range(turns):
        memory.add_message(record.id, "user", f"What grows in bed {number}, where the soil is heavy?")
        memory.add_message(record.id, "assistant", f"In bed {number} grows lavender. " + "Water it. " * 20)
    return record.id


def summarised(memory: Memory) -> Summary:
    """An excerpt of the first messages of a long chat, "Porto"; the very first states a fact and a wish."""
    record = memory.create_session("Porto")
    memory.add_message(record.id, "user", f"{FACT} {WISH} What is there to see?")
    for number in range(8):
        memory.add_message(record.id, "assistant", f"Hill number {number} has a temple on its top.")
        memory.add_message(record.id, "user", f"Tell me about hill number {number} of the old town.")
        memory.build_context(record.id, budget=SMALL, strategy="hierarchical")
    made = memory.consolidate(record.id, strategy="hierarchical", budget=SMALL, cancelled=lambda: False)
    assert made is not None
    return made
