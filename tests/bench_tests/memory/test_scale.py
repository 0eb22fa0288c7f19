"""The benchmark of large memories, on small ones; its synthetic chats are what they claim to be."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from statistics import mean

import numpy as np
import pytest

from bench.memory import scale
from bench.memory.stalls import Stalls, measure_stall
from bench.memory.synthetic import FUNCTION_WORDS, SyntheticTalk, WordVectors


def small_talk(seed: int = 0) -> SyntheticTalk:
    return SyntheticTalk(seed=seed, vocabulary=3_000, topics=20)


def test_chats_have_so_many_messages_and_are_the_same_at_every_run() -> None:
    chats = list(small_talk().sessions(500))
    assert sum(map(len, chats)) == 500
    assert all(len(chat) < 60 for chat in chats)
    assert {role for chat in chats for role, _ in chat[:2]} == {"user", "assistant"}
    assert chats == list(small_talk().sessions(500))
    assert chats != list(small_talk(seed=1).sessions(500))


def words_of(text: str) -> set[str]:
    return {word.strip(".?").lower() for word in text.split()}


def test_few_words_are_frequent_and_most_are_rare() -> None:
    texts = [text for chat in small_talk().sessions(1_000) for _, text in chat]
    having = Counter(word for text in texts for word in words_of(text) - FUNCTION_WORDS)
    assert len(having) > 1_500
    frequent = [count for _, count in having.most_common(3)]
    assert min(frequent) > 150, "a question cannot leave them out as saying nothing"
    assert sum(count < 20 for count in having.values()) > len(having) / 2


def test_the_words_of_a_question_were_said_together() -> None:
    talk = small_talk()
    chats = [set().union(*(words_of(text) for _, text in chat)) for chat in talk.sessions(1_000)]
    asked = [set(text[len("What did I say about the ") : -1].split(" and ")) for text in talk.questions(100)]
    long = [words for words in asked if len(words) >= 4]
    best = [max(len(words & chat) / len(words) for chat in chats) for words in long]
    assert len(long) > 20
    assert mean(best) > 0.7, "of words drawn without a topic it would be 0.6"


def test_texts_that_share_words_are_near() -> None:
    first, near, far = WordVectors().embed(
        ["The boat is on a lake.", "some boat, our lake?", "The form is on a desk."]
    )
    assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-5)
    assert first @ near > 0.7 > first @ far


@pytest.mark.campaign  # loads the embedding model for itself
def test_a_small_store_is_measured() -> None:
    row = scale.measure_size(60, 5)
    assert (row["turns"], row["passages"], row["questions"]) == (60, 60, 5)
    for part in ("search_ms", "keywords_ms", "vectors_ms"):
        assert 0 < row[part]["p50"] <= row[part]["p95"] <= row[part]["p99"]
    assert min(row["database_bytes"], row["index_bytes"]) > 10_000
    stall = asyncio.run(measure_stall(20, WordVectors()))
    assert stall["turns"] == 20
    assert min(stall["indexing"], stall["idle"]) > 0
    result = {"rows": [row], "stall_ms": stall}
    assert json.loads(json.dumps(result)) == result
    assert "60 turns: stored in" in "\n".join(scale.show(result))


def test_a_loop_that_stands_still_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of our own: the first sleep takes 1 ms, the second 31, as if something blocked the loop."""
    readings = iter([0.0, 0.001, 0.001, 0.032, 0.032])
    monkeypatch.setattr("bench.memory.stalls.perf_counter", lambda: next(readings, 0.032))
    stalls = Stalls()

    async def watched() -> None:
        async with stalls.watching():
            for _ in range(50):
                await asyncio.sleep(0.001)

    asyncio.run(watched())
    assert stalls.worst_ms == pytest.approx(30.0)
