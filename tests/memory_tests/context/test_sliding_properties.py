"""Invariants of every chat under the sliding strategy."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from memory_tests.context.context_kit import Chat, is_prefix
from memory_tests.fuzzing import examples
from word_counter import WordCounter

from memory import Budget, BudgetTooSmall, Memory, Turn

texts = st.integers(1, 60).map(lambda count: " ".join(["w"] * count))
# What a turn may look like: a question, and a reply that may be missing, empty or doubled.
turns = st.tuples(texts, st.lists(st.one_of(st.just(""), texts), max_size=2))


@examples(50)
@given(
    st.integers(20, 400),
    st.one_of(st.none(), st.integers(1, 30).map(lambda count: "rule " * count)),
    st.lists(turns, min_size=1, max_size=30),
)
def test_every_prompt_of_every_chat(
    budget: int, system: str | None, exchanges: list[tuple[str, list[str]]]
) -> None:
    chat = Chat(budget, system)
    before: tuple[Turn, ...] | None = None
    for question, replies in exchanges:
        chat.add("user", question)
        evictions = chat.evictions
        refused: BudgetTooSmall | None = None
        try:
            context = chat.build()
        except BudgetTooSmall as exc:
            refused, before = exc, None
        else:
            report = context.report
            assert report.tokens == WordCounter().count_prompt(context.messages) <= budget
            assert sum(layer.tokens for layer in report.layers) == report.tokens
            assert context.messages[-1].role == "user"
            assert context.messages[-1].content.endswith(question)
            assert report.sent[-1] == chat.messages[-1].id
            left_out = {item.message_id for item in report.dropped}
            assert left_out.isdisjoint(report.sent)
            assert left_out | set(report.sent) == {item.id for item in chat.messages}
            assert len(report.sent) + len(report.dropped) == len(chat.messages)
            if chat.evictions == evictions and before is not None:
                assert is_prefix(before, context.messages)
            assert chat.build() == context  # a second call changes nothing
            before = context.messages
        if refused is not None:
            alone = [Turn("system", system)] if system else []
            needed = WordCounter().count_prompt([*alone, Turn("user", question)])
            assert (refused.needed, refused.available) == (needed, budget)
            assert needed > budget
        for reply in replies:
            chat.add("assistant", reply)


@given(st.lists(turns, min_size=1, max_size=20), st.integers(40, 300))
def test_questions_and_their_replies_stay_together(
    exchanges: list[tuple[str, list[str]]], budget: int
) -> None:
    chat = Chat(budget, None)
    for question, replies in exchanges:
        chat.add("user", question)
        for reply in replies:
            chat.add("assistant", reply)
    try:
        report = chat.build().report
    except BudgetTooSmall:
        return
    evicted = {item.message_id for item in report.dropped if item.reason == "does not fit"}
    parent = {item.id: item.parent_id for item in chat.messages}
    for message in chat.messages:
        if message.role == "assistant" and message.content:
            above = message
            while above.role != "user":
                above = next(item for item in chat.messages if item.id == parent[above.id])
            assert (message.id in evicted) == (above.id in evicted)


def test_the_prefix_survives_nearly_every_turn_of_a_long_chat(memory: Memory) -> None:
    """60 turns of about 150 tokens in a prompt of at most 3,000: how often is the KV cache valid?"""
    dice = random.Random(7)
    session = memory.create_session()
    memory.set_session(session.id, system_prompt="You are a helpful assistant.")
    before: tuple[Turn, ...] = ()
    kept = evicted = 0
    for number in range(60):
        memory.add_message(session.id, "user", f"question {number} " + "word " * dice.randint(5, 60))
        context = memory.build_context(session.id, budget=Budget(3000), strategy="sliding")
        if before and context.messages[: len(before)] == before:
            kept += 1
        elif before:
            evicted += 1
        before = context.messages
        memory.add_message(session.id, "assistant", f"answer {number} " + "word " * dice.randint(40, 200))
    assert kept + evicted == 59
    assert evicted <= 6
    assert kept >= 53
    assert context.report.dropped
