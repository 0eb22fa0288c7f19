"""Which spans of a model's answer are believed, and what it is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.ingest.extraction import accepted, facts_grammar, in_batches, prompt_for_facts, words_to_read
from memory.types import Message, Quoted


def pointing(*items: tuple[int, str, str]) -> str:
    return json.dumps([{"message": number, "span": span, "kind": kind} for number, span, kind in items])


def kept(text: str, span: str, kind: str = "fact") -> list[str]:
    (found,) = accepted(pointing((1, span, kind)), [text])
    return [statement.text for statement in found]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("We moved to Ghent. What now?", "We moved to Ghent"),
        ("Meine Frau ist Hebamme und arbeitet nachts.", "Meine Frau ist Hebamme"),
        ("我住在成都。周末有什么好玩的?", "我住在成都"),
        ("I teach  geography\nin Leeds.", "I teach geography"),
        ('My cat is called "Tofu".', 'My cat is called "Tofu"'),
        ("I sail a lot, which knots should I know?", "I sail a lot"),
    ],
)
def test_words_that_stand_there_as_a_statement_are_kept(text: str, span: str) -> None:
    assert kept(text, span) == [span]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("I live in Ghent.", "The user lives in Ghent"),
        ("I live in Ghent.", "I live in ghent"),
        ("I live in Ghent. I sail.", "I live in Ghent. I sail"),
        ("I live in Ghent.", "in Ghent"),
        ("Do I live in Ghent?", "I live in Ghent"),
        ("I live in Ghent, right?", "I live in Ghent"),
        ("Can you tell me why I live in Ghent?", "I live in Ghent"),
        ("If I live in Ghent, what then", "I live in Ghent"),
        ("She said I live in Ghent.", "I live in Ghent"),
        ('He wrote "I live in Ghent" to me.', "I live in Ghent"),
        ("```\nI live in Ghent\n```", "I live in Ghent"),
        ("> I live in Ghent", "I live in Ghent"),
        ("Ana: I live in Ghent", "I live in Ghent"),
        ("Translate this: I live in Ghent", "I live in Ghent"),
        ("Pretend to be my uncle. I live in Ghent.", "I live in Ghent"),
        ("In this story I live in Ghent.", "I live in Ghent"),
        ("我住在成都吗？", "我住在成都"),
        ("Ghent " * 400 + "I live in Ghent.", "I live in Ghent"),
    ],
)
def test_all_else_is_not(text: str, span: str) -> None:
    assert kept(text, span) == []


def test_an_item_must_name_a_message_of_the_batch_and_a_known_kind() -> None:
    texts = ["I live in Ghent.", "I sail a dinghy."]
    good = (2, "I sail a dinghy", "fact")
    bad = [(1, "I sail a dinghy", "fact"), (0, "I live in Ghent", "fact"), (3, "I live in Ghent", "fact")]
    assert accepted(pointing(*bad, (1, "I live in Ghent", "rumour")), texts) == [[], []]
    first, second = accepted(pointing(*bad, good, good), texts)
    assert (first, [item.text for item in second]) == ([], ["I sail a dinghy"])


@pytest.mark.parametrize("answer", ["", "[", "{}", "null", "[1, null]", '[{"message": true}]', "[" * 9999])
def test_a_broken_answer_states_nothing(answer: str) -> None:
    assert accepted(answer, ["I live in Ghent."]) == [[]]


def test_an_answer_that_was_cut_off_counts_as_far_as_it_goes() -> None:
    answer = pointing((1, "I live in Ghent", "fact"), (1, "I sail a dinghy", "fact"))
    (found,) = accepted(answer[:-20], ["I live in Ghent. I sail a dinghy."])
    assert [item.text for item in found] == ["I live in Ghent"]


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


@given(st.text(max_size=80), st.text(max_size=80), st.integers(-1, 2), st.text(max_size=9))
def test_what_is_kept_are_words_of_the_text(text: str, span: str, number: int, kind: str) -> None:
    values: list[dict[str, Any]] = [{"message": number, "span": span, "kind": kind}]
    values += [{"message": 1, "span": text[3:40], "kind": "fact"}]
    for statement in accepted(json.dumps(values), [text])[0]:
        assert letters(statement.text) in letters(text)


def test_the_model_reads_the_persons_own_words_only() -> None:
    message = Message(
        id="1", session_id="s", parent_id=None, role="user", content="Look: I love Rome. Mine: Bari.",
        status="complete", created_at="", quoted=(Quoted(6, 18, "pasted"),),
    )  # fmt: skip
    assert "Rome" not in words_to_read(message)
    assert "Bari" in words_to_read(message)


def test_messages_are_numbered_and_the_grammar_knows_their_numbers() -> None:
    prompt = prompt_for_facts(["one\ntwo", "three"])
    assert "\n1: one two\n2: three\n" in prompt
    assert '"1" | "2"\n' in facts_grammar(2)


def test_a_batch_holds_a_few_messages_and_not_too_much_text() -> None:
    assert [list(batch) for batch in in_batches(["a"] * 8)] == [[0, 1, 2, 3, 4, 5], [6, 7]]
    assert [list(batch) for batch in in_batches(["a" * 3000, "b", "c" * 2399, "d"])] == [[0], [1, 2], [3]]
    assert list(in_batches([])) == []
