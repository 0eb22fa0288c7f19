"""Invariants of every chat under every strategy, whatever is remembered."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from memory_tests.context.context_kit import Chat, OddCounter, bare, is_prefix, memories_of, recall
from memory_tests.fuzzing import examples
from memory_tests.hostile import hostile_texts
from word_counter import WordCounter

from memory import STRATEGIES, AssembledContext, BudgetTooSmall, Recall, Turn
from memory.context.layers import MEMORIES_HEADING, MemoryPicker
from memory.context.strategies import find_strategy

texts = st.integers(1, 60).map(lambda count: " ".join(["w"] * count))
# What a turn may look like: a question, and a reply that may be missing, empty or doubled.
turns = st.tuples(texts, st.lists(st.one_of(st.just(""), texts), max_size=2))


@st.composite
def recalls(draw: st.DrawFn, chat: Chat) -> list[Recall]:
    """Of this chat and of others, some twice, best first."""
    found = []
    for _ in range(draw(st.integers(0, 6))):
        known = draw(st.sampled_from(chat.messages))
        other = draw(st.booleans())
        message_id = f"other {draw(st.integers(0, 3))}" if other else known.id
        at = (
            draw(st.sampled_from(["2026-10-01T10:00:00", "2026-10-02T10:00:00", ""]))
            if other
            else known.created_at
        )
        text = draw(texts) if other else known.content
        score = draw(st.floats(0, 2))
        passage_id = draw(st.integers(0, 2))
        found.append(
            recall(
                text,
                score,
                message_id=message_id,
                at=at,
                passage_id=passage_id,
                coverage=draw(st.sampled_from([0.1, 0.9])),
            )
        )
    return sorted(found, key=lambda item: -item.score)


@st.composite
def chats(draw: st.DrawFn) -> tuple[Chat, list[tuple[str, list[str]]]]:
    """A chat with a profile, and what will be said in it."""
    system = draw(st.one_of(st.none(), st.integers(1, 30).map(lambda count: "rule " * count)))
    chat = Chat(draw(st.integers(20, 600)), system, draw(st.sampled_from(list(STRATEGIES))))
    chat.counter = draw(st.sampled_from([WordCounter(), OddCounter()]))
    for _ in range(draw(st.integers(0, 3))):
        chat.learn(draw(texts), pinned=draw(st.booleans()))
    return chat, draw(st.lists(turns, min_size=1, max_size=25))


def summarise_something(data: st.DataObject, chat: Chat) -> None:
    """Summarise a part of the branch, or several summaries."""
    spoken = [message for message in chat.messages if message.content]
    first = data.draw(st.integers(0, len(spoken) - 1))
    sources = spoken[first : data.draw(st.integers(first + 1, len(spoken)))]
    chat.summarise(data.draw(texts), sources, data.draw(st.integers(0, 1)))


def check(chat: Chat, context: AssembledContext, question: str) -> None:
    report = context.report
    assert report.tokens == chat.counter.count_prompt(context.messages) <= chat.budget
    assert sum(layer.tokens for layer in report.layers) == report.tokens
    assert all(layer.tokens >= 0 for layer in report.layers)
    roles = [turn.role for turn in context.messages if turn.role != "system"]
    assert roles[-1] == "user"
    assert all(one != other for one, other in pairwise(roles))
    assert [turn.role for turn in context.messages].count("system") == len(context.messages) - len(roles) <= 1
    assert context.messages[-1].content.endswith(question)
    assert report.sent[-1] == chat.messages[-1].id
    left_out = [item.message_id for item in report.dropped]
    assert sorted([*left_out, *report.sent]) == sorted(item.id for item in chat.messages)
    assert not {item.message_id for item in report.recalls} & set(report.sent)


def check_recalls(context: AssembledContext, found: list[Recall]) -> None:
    report = context.report
    accounted = {item.message_id for item in report.recalls}
    accounted |= {item.message_id for item in report.dropped_recalls}
    if find_strategy(report.strategy).searches:
        assert accounted == {item.message_id for item in found}
    assert [item.at for item in report.recalls] == sorted(item.at for item in report.recalls)
    assert len({item.message_id for item in report.recalls}) == len(report.recalls)
    quotation = memories_of(context)
    assert bool(quotation) == bool(report.recalls)
    for item in report.recalls:
        assert f"{item.role}: {item.text}" in quotation.split("\n")


def gave_up(context: AssembledContext) -> bool:
    """Whether a whole layer of the system turn had to make room for the question."""
    report = context.report
    return bool(
        (report.dropped_facts and not report.facts) or (report.dropped_summaries and not report.summaries)
    )


@examples(80)
@given(chats(), st.data())
def test_every_prompt_of_every_chat(
    described: tuple[Chat, list[tuple[str, list[str]]]], data: st.DataObject
) -> None:
    chat, exchanges = described
    before: AssembledContext | None = None
    for question, replies in exchanges:
        chat.add("user", question)
        found = data.draw(recalls(chat))
        load = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
        evictions = chat.evictions
        try:
            context = chat.build(found, load)
        except BudgetTooSmall as refused:
            check_refusal(chat, question, refused)
            before = None
        else:
            check(chat, context, question)
            check_recalls(context, found)
            if (
                before is not None
                and chat.evictions == evictions
                and not gave_up(before)
                and not gave_up(context)
            ):
                assert is_prefix(bare(before), bare(context))
            assert chat.build(found, load) == context  # a second call changes nothing
            before = context
        for reply in replies:
            chat.add("assistant", reply)
        if data.draw(st.integers(0, 3)) == 0:
            summarise_something(data, chat)
        if data.draw(st.integers(0, 9)) == 0:
            chat.learn(data.draw(texts), pinned=False)


def check_refusal(chat: Chat, question: str, refused: BudgetTooSmall) -> None:
    assert refused.needed > refused.available == chat.budget
    if chat.strategy != "full":
        alone = [Turn("system", chat.system)] if chat.system else []
        assert refused.needed == chat.counter.count_prompt([*alone, Turn("user", question)])


@examples(40)
@given(chats(), st.data())
def test_the_same_input_gives_the_same_output(
    described: tuple[Chat, list[tuple[str, list[str]]]], data: st.DataObject
) -> None:
    chat, exchanges = described
    for question, replies in exchanges:
        chat.add("user", question)
        for reply in replies:
            chat.add("assistant", reply)
    chat.add("user", "and now?")
    summarise_something(data, chat)
    strategy = find_strategy(str(chat.strategy))
    found = data.draw(recalls(chat))

    def outcome() -> Any:
        try:
            return strategy.assemble(chat.given(found))
        except BudgetTooSmall as refused:
            return refused.needed

    assert outcome() == outcome()


@examples(60)
@given(
    st.lists(
        st.tuples(hostile_texts, st.integers(0, 2), st.sampled_from(["", "2026-10-01", "x\n\ny"])), max_size=8
    )
)
def test_whatever_a_memory_contains_it_stays_on_its_line(said: list[tuple[str, int, str]]) -> None:
    found = [recall(text, message_id=f"m{number}", at=at) for text, number, at in said]
    memories = MemoryPicker(found, WordCounter(), {}).pick(set(), 10_000)
    heading, *lines = memories.text.splitlines() or [MEMORIES_HEADING]
    assert heading == MEMORIES_HEADING
    speeches = [line for line in lines if re.match("user:(?: |$)", line)]
    of_code = [line for line in lines if line.startswith("    ")]
    days = [line for line in lines if re.fullmatch(r"\[[^\[\]]+\]", line)]
    assert len(speeches) == len(memories.used)
    assert len(speeches) + len(of_code) + len(days) == len(lines)
