"""What goes into a prompt, and the report on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from memory_tests.context.context_kit import words
from word_counter import MARKS_PER_TURN, WordCounter

from memory import (
    STRATEGIES,
    AssembledContext,
    Budget,
    BudgetTooSmall,
    CounterMissing,
    Memory,
    Turn,
    UnknownStrategy,
)

AMPLE = Budget(10_000, 500)


def chat(memory: Memory, *texts: str) -> str:
    """A session in which user and assistant take turns."""
    session = memory.create_session()
    database = memory._database

    def fill() -> None:
        with database.atomic():
            for number, text in enumerate(texts):
                memory.add_message(session.id, "assistant" if number % 2 else "user", text)

    database.call(fill)
    return session.id


def layers(context: AssembledContext) -> dict[str, tuple[int, int]]:
    return {layer.name: (layer.tokens, layer.messages) for layer in context.report.layers}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_chat_that_fits_is_sent_whole(memory: Memory, strategy: str) -> None:
    session_id = chat(memory, "one two", "three", "four five six")
    context = memory.build_context(session_id, budget=AMPLE, strategy=strategy)
    assert context.messages == (
        Turn("user", "one two"),
        Turn("assistant", "three"),
        Turn("user", "four five six"),
    )
    report = context.report
    assert report.strategy == strategy
    assert (report.budget_tokens, report.reply_tokens) == (10_000, 500)
    assert report.tokens == WordCounter().count_prompt(context.messages) == 6 + 3 * MARKS_PER_TURN + 3
    assert layers(context) == {
        "system": (0, 0),
        "profile": (0, 0),
        "summary": (0, 0),
        "history": (3, 2),
        "memories": (0, 0),
        "question": (3, 1),
        "template": (15, 0),
    }
    assert sum(layer.tokens for layer in report.layers) == report.tokens
    assert report.sent == tuple(item.id for item in memory.messages(session_id))
    assert (report.dropped, report.recalls, report.notice) == ((), (), None)
    assert {item.message_id for item in report.dropped_recalls} <= set(report.sent)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_system_prompt_goes_first(memory: Memory, strategy: str) -> None:
    session_id = chat(memory, "hello")
    context = memory.build_context(
        session_id, budget=AMPLE, strategy=strategy, system_prompt="The usual one."
    )
    assert context.messages == (Turn("system", "The usual one."), Turn("user", "hello"))
    assert layers(context)["system"] == (3, 1)
    memory.set_session(session_id, system_prompt="My own.")
    memory.add_message(session_id, "system", "And a rule.")
    context = memory.build_context(
        session_id, budget=AMPLE, strategy=strategy, system_prompt="The usual one."
    )
    assert context.messages == (Turn("system", "My own.\n\nAnd a rule."), Turn("user", "hello"))
    assert len(context.report.sent) == 2
    memory.set_session(session_id, system_prompt="")
    context = memory.build_context(
        session_id, budget=AMPLE, strategy=strategy, system_prompt="The usual one."
    )
    assert context.messages[0] == Turn("system", "And a rule.")


def test_replies_without_text_are_left_out_and_the_roles_still_alternate(memory: Memory) -> None:
    session_id = chat(memory, "first question")
    failed = memory.begin_reply(session_id)
    memory.finish_reply(failed.id, "", status="failed", error="It broke.")
    memory.add_message(session_id, "user", "second question")
    empty = memory.add_message(session_id, "assistant", " \n")
    memory.add_message(session_id, "user", "third question")
    context = memory.build_context(session_id, budget=AMPLE)
    assert context.messages == (Turn("user", "first question\n\nsecond question\n\nthird question"),)
    assert [(item.message_id, item.reason) for item in context.report.dropped] == [
        (failed.id, "empty reply"),
        (empty.id, "empty reply"),
    ]
    assert context.report.notice is None


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_partial_replies_are_sent_as_they_are(memory: Memory, status: str) -> None:
    session_id = chat(memory, "question")
    reply = memory.begin_reply(session_id)
    memory.finish_reply(reply.id, "half an ans", status=status)  # type: ignore[arg-type]
    memory.add_message(session_id, "user", "go on")
    context = memory.build_context(session_id, budget=AMPLE)
    assert [turn.content for turn in context.messages] == ["question", "half an ans", "go on"]


def test_another_head_gives_another_branch(memory: Memory) -> None:
    session_id = chat(memory, "question", "answer")
    question = memory.messages(session_id)[0]
    context = memory.build_context(session_id, budget=AMPLE, head=question.id)
    assert context.messages == (Turn("user", "question"),)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_empty_session_has_an_empty_context(memory: Memory, strategy: str) -> None:
    session = memory.create_session()
    context = memory.build_context(session.id, budget=AMPLE, strategy=strategy)
    assert (context.messages, context.report.tokens) == ((), 0)


def test_a_large_system_prompt_does_not_cost_the_whole_history(memory: Memory) -> None:
    session_id = chat(memory, *[words(6, f"m{number}") for number in range(21)])
    memory.set_session(session_id, system_prompt=words(300))
    context = memory.build_context(session_id, budget=Budget(500), strategy="sliding")
    # The system prompt leaves 200. Half of that: nine turns, and what the template adds.
    assert len(context.messages) == 1 + 9
    assert context.report.tokens == 300 + 9 * 6 + 10 * MARKS_PER_TURN + 3


def test_full_refuses_what_does_not_fit(memory: Memory) -> None:
    session_id = chat(memory, words(600), words(600), words(300))
    with pytest.raises(BudgetTooSmall) as caught:
        memory.build_context(session_id, budget=Budget(1000), strategy="full")
    assert (caught.value.needed, caught.value.available) == (1515, 1000)
    assert str(caught.value) == (
        "The whole chat needs 1,515 tokens; the limit is 1,000. "
        "Switch to the sliding strategy, or to a model with a larger context."
    )


def test_sliding_evicts_to_half_of_the_budget_and_reports_it(memory: Memory) -> None:
    session_id = chat(memory, *[words(46, f"m{number}") for number in range(11)])
    context = memory.build_context(session_id, budget=Budget(500), strategy="sliding")
    report = context.report
    assert [turn.content.split()[0] for turn in context.messages] == ["m8", "m9", "m10"]
    assert report.tokens == 3 * 50 + 3
    assert [item.message_id for item in report.dropped] == [
        item.id for item in memory.messages(session_id)[:8]
    ]
    assert {(item.tokens, item.reason) for item in report.dropped} == {(46, "does not fit")}
    assert report.notice == "8 older messages left out, 368 tokens (prompt limit 500 tokens)."


def test_the_window_start_stays_until_the_budget_is_exceeded_again(memory: Memory) -> None:
    session_id = chat(memory, *[words(46, f"m{number}") for number in range(11)])
    starts = []
    for number in range(11, 27, 2):
        context = memory.build_context(session_id, budget=Budget(500), strategy="sliding")
        starts.append(context.messages[0].content.split()[0])
        memory.add_message(session_id, "assistant", words(46, f"m{number}"))
        memory.add_message(session_id, "user", words(46, f"m{number + 1}"))
    assert starts == ["m8", "m8", "m8", "m8", "m16", "m16", "m16", "m16"]


def test_the_window_start_survives_a_restart(memory: Memory) -> None:
    session_id = chat(memory, *[words(46, f"m{number}") for number in range(11)])
    before = memory.build_context(session_id, budget=Budget(500), strategy="sliding")
    memory.close()
    with Memory(memory.path, counter=WordCounter()) as again:
        again.add_message(session_id, "assistant", "ok")
        again.add_message(session_id, "user", "next")
        after = again.build_context(session_id, budget=Budget(500), strategy="sliding")
    assert after.messages[: len(before.messages)] == before.messages


def test_a_larger_budget_restores_the_past_and_a_smaller_one_keeps_the_start(memory: Memory) -> None:
    session_id = chat(memory, *[words(46, f"m{number}") for number in range(11)])

    def first(tokens: int) -> str:
        context = memory.build_context(session_id, budget=Budget(tokens), strategy="sliding")
        return context.messages[0].content.split()[0]

    assert first(500) == "m8"
    assert first(480) == "m8"
    assert first(1000) == "m0"
    assert first(520) == "m6"
    assert first(110) == "m10"
    assert first(500) == "m8"


def test_the_same_start_under_a_larger_budget_is_remembered_for_it(memory: Memory) -> None:
    session_id = chat(memory, *[words(46, f"m{number}") for number in range(11)])
    for tokens in (500, 505):
        context = memory.build_context(session_id, budget=Budget(tokens), strategy="sliding")
        assert context.messages[0].content.startswith("m8")
    memory.add_message(session_id, "assistant", words(46))
    memory.add_message(session_id, "user", words(46))
    assert (
        memory.build_context(session_id, budget=Budget(505), strategy="sliding")
        .messages[0]
        .content.startswith("m8")
    )


def test_the_window_start_of_one_branch_does_not_count_on_another(memory: Memory) -> None:
    session_id = chat(memory, *[words(46, f"m{number}") for number in range(11)])
    memory.build_context(session_id, budget=Budget(500), strategy="sliding")
    early = memory.messages(session_id)[3]
    memory.add_message(session_id, "user", "edited", parent_id=early.id)
    context = memory.build_context(session_id, budget=Budget(500), strategy="sliding")
    assert [turn.content.split()[0] for turn in context.messages] == ["m0", "m1", "m2", "m3", "edited"]


def test_a_long_question_keeps_the_exchange_before_it_if_both_fit(memory: Memory) -> None:
    session_id = chat(memory, words(100), words(100), words(40), words(40), words(150))
    context = memory.build_context(session_id, budget=Budget(300), strategy="sliding")
    assert [len(turn.content.split()) for turn in context.messages] == [40, 40, 150]


def test_a_question_alone_may_take_the_whole_budget(memory: Memory) -> None:
    session_id = chat(memory, words(50), words(50), words(93))
    context = memory.build_context(session_id, budget=Budget(100), strategy="sliding")
    assert (len(context.messages), context.report.tokens) == (1, 100)


def test_a_question_that_does_not_fit_is_refused_with_the_numbers(memory: Memory) -> None:
    session_id = chat(memory, words(10), words(10), words(994))
    memory.set_session(session_id, system_prompt=words(100))
    with pytest.raises(BudgetTooSmall) as caught:
        memory.build_context(session_id, budget=Budget(1000), strategy="sliding")
    assert (caught.value.needed, caught.value.available) == (1105, 1000)
    assert str(caught.value) == (
        "Message and system prompt need 1,105 tokens; the limit is 1,000. "
        "Shorten the message, or switch to a model with a larger context."
    )
    # It stays in the chat, but must not block the next one.
    memory.add_message(session_id, "user", "shorter")
    assert memory.build_context(session_id, budget=Budget(1000), strategy="sliding").messages[-1] == Turn(
        "user", "shorter"
    )


def test_a_huge_past_is_not_rendered_to_measure_it(memory: Memory) -> None:
    session_id = chat(memory, *[words(100, str(number)) for number in range(401)])
    counter = WordCounter()
    memory.counter = counter
    memory.build_context(session_id, budget=Budget(1000), strategy="sliding")
    assert counter.prompts_counted <= 5
    texts = counter.texts_counted
    memory.build_context(session_id, budget=Budget(1000), strategy="sliding")
    assert counter.texts_counted == texts  # from the cache
    assert counter.prompts_counted <= 6


def test_an_unknown_strategy_names_the_known_ones(memory: Memory) -> None:
    session_id = chat(memory, "hello")
    with pytest.raises(UnknownStrategy, match=r"Unknown context strategy 'slidng'\. .*sliding, full"):
        memory.build_context(session_id, budget=AMPLE, strategy="slidng")


def test_without_a_model_nothing_can_be_counted(database_path: Path) -> None:
    with Memory(database_path) as memory:
        session_id = chat(memory, "hello")
        assert memory.counter is None
        with pytest.raises(CounterMissing, match="No model is loaded"):
            memory.build_context(session_id, budget=AMPLE, strategy="sliding")
        counter = memory.counter = WordCounter()
        assert memory.counter is counter
        assert memory.build_context(session_id, budget=AMPLE, strategy="sliding").report.tokens == 8
        memory.counter = None
        with pytest.raises(CounterMissing):
            memory.build_context(session_id, budget=AMPLE, strategy="sliding")


def test_another_model_counts_with_its_own_tokenizer(memory: Memory) -> None:
    class Twice(WordCounter):
        def count_text(self, text: str) -> int:
            return 2 * super().count_text(text)

    session_id = chat(memory, "one two three")
    assert layers(memory.build_context(session_id, budget=AMPLE, strategy="sliding"))["question"] == (3, 1)
    memory.counter = Twice()
    assert layers(memory.build_context(session_id, budget=AMPLE, strategy="sliding"))["question"] == (6, 1)


def test_the_report_is_json(memory: Memory) -> None:
    session_id = chat(memory, *[words(46) for _ in range(11)])
    report = memory.build_context(session_id, budget=Budget(500), strategy="sliding").report
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["tokens"] == report.tokens
    assert plain["dropped"][0]["reason"] == "does not fit"
    assert plain["layers"][0] == {"name": "system", "tokens": 0, "messages": 0}
