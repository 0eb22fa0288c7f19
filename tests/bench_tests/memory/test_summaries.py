"""The benchmark of summaries: what it counts as a fact, as kept, and as unsupported."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from word_counter import WordCounter

from bench.cli import BenchError
from bench.memory.summaries import Copying, is_unsupported, measure, read_chats, terms_of

SAID = (
    "Which tyres suit my bike? By the way, I sold my green tent to Olga for 40 euros in three days. Thanks!"
)
ANSWER = "Wide ones. A wider tyre rolls over roots and stones, and it forgives mistakes on wet ground."


class Inventing:
    """Says in its own way what nobody said, in words of the chat, so that the application believes it."""

    def summarise(self, texts: Sequence[str], *, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        return "Wet stones suit the mistakes of a green tent, dear elephant, by sunrise."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "set.json"
    turns = [{"role": "user", "content": SAID}, {"role": "assistant", "content": 5 * f"{ANSWER} "}]
    chats = [{"id": name, "turns": turns} for name in ("one", "two", "three")]
    questions = [
        {"question": "Who bought my tent?", "answer": "Olga", "evidence_turns": [["one", 0], ["three", 0]]},
        {"question": "What is it?", "answer": 40, "evidence_turns": [["two", 0]]},
    ]
    path.write_text(json.dumps({"sessions": chats, "questions": questions}), encoding="utf-8")
    return path


def test_a_fact_is_what_the_question_asks_for_in_one_sentence(data: Path) -> None:
    chats = read_chats(data)
    assert [chat.name for chat in chats] == ["one", "three"], "one term says too little"
    assert [fact.terms for fact in chats[0].facts] == [{"olga", "tent"}]
    assert [chat.name for chat in read_chats(data, half=1)] == ["three"]
    assert chats[0].facts[0].share_in("Olga has a bike.") == 0.5
    assert terms_of("Three tents") == {"3", "tent"}


@pytest.mark.parametrize(
    "sentence", ["A tent was sold to Olga for 40 euros.", "It took 3 days to sell the tent.", "Thanks!"]
)
def test_what_the_chat_says_is_supported(sentence: str) -> None:
    assert not is_unsupported(sentence, f"{SAID}\n{ANSWER}")


@pytest.mark.parametrize(
    "sentence",
    [
        "A tent was sold to Nadia for 40 euros.",
        "A tent was sold to Olga for 50 euros.",
        "The bike was stolen by pirates in winter.",
    ],
)
def test_what_the_chat_does_not_say_is_not(sentence: str) -> None:
    assert is_unsupported(sentence, f"{SAID}\n{ANSWER}")


def test_words_that_are_said_in_different_places_do_not_support_a_sentence() -> None:
    places = ["A cat sleeps.", "A dog barks.", "A horse runs.", "A bird sings.", "A fish swims."]
    assert not is_unsupported("The cat and the dog.", " ".join(places))
    assert is_unsupported("The cat, a horse and some fish.", " ".join(places))


def test_summaries_are_made_as_the_application_makes_them(data: Path) -> None:
    for summarizer in (None, Copying()):
        found = measure(read_chats(data), WordCounter(), summarizer)
        assert (found["chats"], found["facts"], found["facts_kept"], found["unsupported"]) == (2, 2, 100, 0)
        assert found["sentences"]
        assert 0 < found["length"] < 100
    assert measure(read_chats(data), WordCounter(), Inventing())["unsupported"] > 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is not such a set"):
        read_chats(tmp_path / "missing.json")
