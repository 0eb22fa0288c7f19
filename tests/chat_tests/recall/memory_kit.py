"""Stored chats for tests of the memory's screens."""

from __future__ import annotations

from memory import Memory

DOG = "I have a dog called Rex, he is four years old and afraid of thunder."
CALM = "For thunder a quiet room without windows helps, and some music."
TEA = "I prefer tea to coffee after dinner."


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
