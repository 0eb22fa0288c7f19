"""The labelled messages, the rules on them, and how what is found is graded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import get_args

import pytest

from memory import ExtractionCancelled, FactsCheck
from memory.ingest.facts import Statement
from memory.ingest.facts_check import found_by_model, found_by_rules, graded, labelled_messages
from memory.types import FactKind


def test_there_are_200_messages_half_of_which_state_nothing() -> None:
    messages = labelled_messages()
    assert len({message.text for message in messages}) == len(messages) == 200
    assert sum(not message.facts for message in messages) == 100
    assert Counter(message.half for message in messages) == {1: 100, 2: 100}
    assert {message.language for message in messages} == {"en", "de", "fr", "es", "zh", "ru"}
    for message in messages:
        for words, kind in message.facts:
            assert words in message.text
            assert kind in get_args(FactKind)
    assert {kind for message in messages for _, kind in message.facts} == set(get_args(FactKind))


@pytest.mark.parametrize("half", [1, 2])
def test_the_rules_are_right(half: int) -> None:
    result = graded(found_by_rules(), half=half)
    assert result.precision is not None
    assert result.precision >= 0.95
    assert result.recall >= 0.3


def test_a_statement_is_right_if_it_holds_half_of_a_labelled_one() -> None:
    first = labelled_messages()[0]
    assert first.facts[0][0] == "I live in Utrecht"
    rest: list[list[Statement]] = [[] for _ in labelled_messages()[1:]]

    def result(*texts: str) -> FactsCheck:
        return graded([[Statement(text, "fact") for text in texts], *rest])

    assert result("I live in Utrecht and the council").right == 1
    whole = result("live in Utrecht", "What do I have to do", "the council just")
    assert (whole.kept, whole.right, whole.found) == (3, 1, 1)
    assert whole.by_kind["fact"][0] == 1


@pytest.mark.parametrize(
    ("kept", "right", "passed"),
    [(40, 40, True), (42, 40, True), (43, 40, False), (39, 39, False), (0, 0, False)],
)
def test_a_model_passes_with_enough_right_statements_and_few_wrong_ones(
    kept: int, right: int, passed: bool
) -> None:
    check = FactsCheck(
        model="m", check="c", messages=200, kept=kept, right=right, labelled=100, found=right, by_kind={}
    )
    assert check.passed is passed
    assert check.to_json()["passed"] is passed


class Silent:
    model = "silent"

    def extract(self, prompt: str, *, grammar: str, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        return "[]"


def test_a_model_that_finds_nothing_does_not_pass() -> None:
    shares: list[float] = []
    result = graded(found_by_model(Silent(), shares.append, lambda: False))
    assert (result.precision, result.passed) == (None, False)
    assert shares[-1] == 1


def test_a_check_can_be_cancelled() -> None:
    with pytest.raises(ExtractionCancelled):
        found_by_model(Silent(), lambda done: None, lambda: True)
