"""Search by keywords on real SQLite. Search by meaning: vectors/test_sync.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from waiting import block_until

from memory import Memory
from memory.search.keywords import Keyword
from memory.search.rank import rank
from memory.text import Term
from memory.types import Passage

TODAY = date(2026, 11, 23)  # a Monday


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Memory(tmp_path / "chats.db") as memory:
        yield memory


def tell(memory: Memory, *texts: str, at: str | None = None, title: str | None = None) -> list[str]:
    """A chat in which user and model take turns; returns the ids of its messages."""
    session = memory.create_session(title)
    roles = ("user", "assistant")
    return [
        memory.add_message(session.id, roles[place % 2], text, at=at).id  # type: ignore[arg-type]
        for place, text in enumerate(texts)
    ]


def found(memory: Memory, question: str, *, gated: bool = False) -> list[str]:
    return [recall.text for recall in memory.search(question, gated=gated)]


def test_words_are_found_in_every_chat_with_any_ending(memory: Memory) -> None:
    tell(memory, "My sister is called Ines.", "A nice name.")
    tell(memory, "We were climbing in the Dolomites.", "How high did you climb?")
    tell(memory, "Naïve Bayes is a classifier.", "It is.")
    assert found(memory, "What is my sister's name?")[0] == "My sister is called Ines."
    assert set(found(memory, "Who climbs?")[:2]) == {
        "We were climbing in the Dolomites.",
        "How high did you climb?",
    }
    assert found(memory, "naive")[0] == "Naïve Bayes is a classifier."
    assert found(memory, "What about zebras?") == []


def test_nothing_in_a_question_is_parsed_as_query_syntax(memory: Memory) -> None:
    tell(memory, 'He said "NEAR(x)" AND left - or not?')
    for question in ('"NEAR(', "left OR", "NOT left*", "a:b^2", "''", "", "   ", "\ud800 left"):
        memory.search(question)
    assert found(memory, "NEAR(x) AND left")


def test_neighbours_of_hits_are_found_too(memory: Memory) -> None:
    tell(memory, "Where did you hide the spare key?", "Under the blue flower pot.")
    tell(memory, "Flour, sugar, butter.", "That makes a crumble.")
    assert found(memory, "the spare key") == [
        "Where did you hide the spare key?",
        "Under the blue flower pot.",  # not one word of the question
    ]


def test_a_long_model_reply_ranks_below_what_the_user_said(memory: Memory) -> None:
    guess = "Your sister may live anywhere: in a village, in a town or by the sea. " * 8
    tell(memory, "Where does my sister live?", guess)
    tell(memory, "My sister Ines lives in Lisbon.", "A lovely town.")
    tell(memory, "Which wine goes with fish?", "A white one.")
    said = [text for text in found(memory, "Where does my sister live?") if not text.endswith("?")]
    assert said.index("My sister Ines lives in Lisbon.") < said.index(guess.strip())
    assert found(memory, "What did you say about my sister?"), "but it is found"


def test_a_day_in_the_question_matches_the_message_s_date(memory: Memory) -> None:
    for month in ("03", "04", "05"):
        tell(memory, "We tasted olive oil at the market.", "Lovely.", at=f"2026-{month}-02T10:00:00Z")
    recalls = memory.search("What did we taste at the market in April 2026?")
    assert recalls[0].at.startswith("2026-04")
    assert recalls[0].signals["date"] == 1.0


def test_only_finished_replies_are_found_and_system_messages_never(memory: Memory) -> None:
    session = memory.create_session()
    memory.add_message(session.id, "system", "Speak like a walrus.")
    memory.add_message(session.id, "user", "Which bird sings at night?")
    reply = memory.begin_reply(session.id)
    memory.update_reply(reply.id, "The nightingale")
    assert found(memory, "nightingale walrus") == []
    memory.finish_reply(reply.id, "The nightingale does.", status="complete")
    assert found(memory, "nightingale walrus")[0] == "The nightingale does."


def test_a_deleted_chat_is_in_no_file_any_more(memory: Memory, tmp_path: Path) -> None:
    tell(memory, "The password of the shed is xylophonquartz.", "Noted.")
    tell(memory, "Sheds need paint.")
    assert found(memory, "password of the shed")
    session = next(item for item in memory.sessions() if "password" in item.title)
    memory.delete_session(session.id)
    assert found(memory, "xylophonquartz password") == []
    for path in tmp_path.rglob("*"):
        assert b"xylophonquartz" not in path.read_bytes().lower(), path


def test_messages_of_older_versions_are_found_after_an_upgrade(tmp_path: Path) -> None:
    with Memory(tmp_path / "chats.db") as memory:
        tell(memory, " \n\t", "My umbrella is yellow.")  # blank messages have no passages
        memory._call(memory._database.execute, "DELETE FROM passages")
    with Memory(tmp_path / "chats.db") as memory:
        block_until(lambda: found(memory, "umbrella") == ["My umbrella is yellow."])


def test_small_talk_and_tasks_get_no_memories(memory: Memory) -> None:
    tell(memory, "I planted tomatoes and basil on the balcony.", "They like sun.")
    for prompt in ("Hi there!", "Thanks, that was great.", "Write a haiku about autumn rain."):
        assert found(memory, prompt, gated=True) == []
    assert found(memory, "What did I plant on the balcony?", gated=True)


def test_the_speaker_named_in_the_question_counts() -> None:
    mine = Passage(1, "m1", "s", "user", "The boat is green", "2026-01-01T00:00:00Z")
    yours = Passage(2, "m2", "s", "assistant", "The boat is green", "2026-01-01T00:00:00Z", 1)
    keywords = [Keyword(Term(("boat",)), 1.0, 2)]
    signals = {
        question: {
            item.passage.role: item.signals.get("speaker", 0.0)
            for item in rank(question, keywords, {1: mine, 2: yours}, {}, TODAY)
        }
        for question in ("What did I say of the boat?", "What did you say of the boat?", "Which boat?")
    }
    assert list(signals.values()) == [
        {"user": 1.0, "assistant": 0.0},
        {"user": 0.0, "assistant": 1.0},
        {"user": 0.0, "assistant": 0.0},
    ]
