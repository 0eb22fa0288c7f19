"""A model looks for facts in what was said: when, in what, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from memory import ExtractionCancelled, Memory, Quoted
from memory.ingest.facts_check import labelled_messages


class Pointing:
    """Points at the labelled statements, and at those that a test adds."""

    model = "0123"

    def __init__(self) -> None:
        self.more: list[str] = []
        self.prompts: list[str] = []
        self.on_extract: Callable[[], None] = lambda: None

    def extract(self, prompt: str, *, grammar: str, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        self.prompts.append(prompt)
        self.on_extract()
        known = {words: kind for message in labelled_messages() for words, kind in message.facts}
        known |= dict.fromkeys(self.more, "fact")
        lines = [line.split(": ", 1) for line in prompt.split("Messages:\n")[1].splitlines() if ": " in line]
        return json.dumps(
            [
                {"message": int(number), "span": words, "kind": kind}
                for number, text in lines
                if number.isdigit()
                for words, kind in known.items()
                if words in text
            ]
        )


@pytest.fixture
def model(memory: Memory) -> Pointing:
    """Has passed the check."""
    memory.extractor = extractor = Pointing()
    assert memory.long_term.check_extractor(extractor).passed
    extractor.prompts.clear()
    return extractor


def read(memory: Memory) -> int | None:
    return memory.read_facts(cancelled=lambda: False)


def facts(memory: Memory) -> list[str]:
    return [fact.text for fact in memory.long_term.facts()]


def test_a_model_that_was_not_checked_is_not_asked(memory: Memory) -> None:
    memory.extractor = extractor = Pointing()
    memory.add_message(memory.create_session().id, "user", "We keep bees in Kent.")
    assert read(memory) is None
    assert extractor.prompts == []
    assert memory.long_term.extractor_check(extractor) is None


def test_one_that_failed_the_check_is_not_asked_either(memory: Memory) -> None:
    memory.extractor = extractor = Pointing()
    extractor.more = [message.text for message in labelled_messages() if not message.facts]
    check = memory.long_term.check_extractor(extractor)
    assert not check.passed, "it points at whole messages that state nothing"
    assert memory.long_term.extractor_check(extractor) == check
    memory.add_message(memory.create_session().id, "user", "We keep bees in Kent.")
    assert read(memory) is None


def test_its_facts_are_the_persons_words_with_their_source_and_each_message_is_read_once(
    memory: Memory, model: Pointing
) -> None:
    model.more = ["We keep bees in Kent"]
    said = memory.add_message(memory.create_session().id, "user", "We keep bees in Kent, what do they need?")
    memory.add_message(said.session_id, "assistant", "We keep bees in Kent, too.")
    assert facts(memory) == []
    assert read(memory) == 1
    (fact,) = memory.long_term.facts()
    assert (fact.text, fact.sources) == ("We keep bees in Kent", (said.id,))
    assert [entity.name for entity in fact.entities] == ["Kent"]
    assert read(memory) is None
    memory.long_term.forget_fact(fact.id)
    assert read(memory) is None, "a fact that was deleted does not come back"
    model.model = "4567"
    memory.long_term.check_extractor(model)
    assert read(memory) == 1, "another model is asked again"


def test_what_the_rules_found_is_not_added_again(memory: Memory, model: Pointing) -> None:
    model.more = ["I live in Ghent", "I live in Ghent with two cats and a boat"]
    memory.add_message(memory.create_session().id, "user", "I live in Ghent with two cats and a boat.")
    assert read(memory) == 1
    assert facts(memory) == ["I live in Ghent with two cats and a boat."]


def test_nothing_off_the_record_pasted_or_forgotten_is_read(memory: Memory, model: Pointing) -> None:
    hidden = memory.create_session()
    memory.add_message(hidden.id, "user", "We keep owls in Kent.")
    memory.set_session(hidden.id, off_record=True)
    chat = memory.create_session()
    pasted = "They keep moles in Kent."
    memory.add_message(chat.id, "user", f"Look: {pasted}", quoted=(Quoted(6, 6 + len(pasted), "pasted"),))
    gone = memory.add_message(chat.id, "user", "We keep rats in Kent.")
    memory.long_term.forget([gone.id])
    memory.long_term.switch(False)
    memory.add_message(chat.id, "user", "We keep eels in Kent.")
    assert read(memory) is None, "while nothing is remembered, nothing is read"
    memory.long_term.switch(True)
    assert read(memory) == 1
    for word in ("owls", "moles", "rats", "eels"):
        assert word not in model.prompts[0]
    memory.set_session(hidden.id, off_record=False)
    assert read(memory) == 1
    assert "owls" in model.prompts[1]


def test_a_message_that_is_forgotten_meanwhile_teaches_nothing(memory: Memory, model: Pointing) -> None:
    model.more = ["We keep bees in Kent"]
    said = memory.add_message(memory.create_session().id, "user", "We keep bees in Kent.")

    def forget() -> None:
        memory.long_term.forget([said.id])

    model.on_extract = forget
    read(memory)
    assert facts(memory) == []


def test_a_cancelled_reading_is_done_later_and_a_failed_one_is_not(memory: Memory, model: Pointing) -> None:
    def cancel() -> None:
        raise ExtractionCancelled

    def fail() -> None:
        raise ValueError("We keep bees")

    memory.add_message(memory.create_session().id, "user", "We keep bees in Kent.")
    assert memory.read_facts(cancelled=lambda: True) is None
    model.on_extract = cancel
    assert read(memory) is None
    model.on_extract = fail
    assert read(memory) == 1
    assert read(memory) is None
