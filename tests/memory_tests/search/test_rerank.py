"""A reranker changes the order of the best, never what is found or how it is scored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from memory_tests.vectors.index_kit import tell
from random_bert import write_cross_encoder
from waiting import block_until
from word_counter import WordCounter

from memory import Budget, Memory, RerankerUnavailable
from memory.vectors import WorkerReranker

TEXTS = [f"the boat number {number} is blue" for number in range(12)]
OTHERS = [f"something else {number}" for number in range(48)]  # a word that most have finds nothing
QUESTION = "Do you remember which boat is blue?"


def number_in(text: str) -> int:
    return int(text.split()[3]) if "boat" in text else 99


class ByNumber:
    """Prefers low numbers."""

    name = "by number"

    def __init__(self) -> None:
        self.ready = True
        self.asked: list[tuple[str, int]] = []
        self.closed = False
        self.before_answering: Callable[[], object] = lambda: None

    def start(self) -> None: ...

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        self.asked.append((question, len(texts)))
        self.before_answering()
        return [-float(number_in(text)) for text in texts]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def reranker() -> ByNumber:
    return ByNumber()


@pytest.fixture
def memory(tmp_path: Path, reranker: ByNumber, monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    monkeypatch.setattr("memory.search.rerank._BEST", 8)
    with Memory(tmp_path / "chats.db", counter=WordCounter(), reranker=reranker) as memory:
        tell(memory, *OTHERS, *TEXTS)
        yield memory
    assert reranker.closed


def found(memory: Memory) -> list[tuple[str, float]]:
    return [(recall.text, recall.score) for recall in memory.search(QUESTION, limit=50)]


def test_the_best_are_reordered_and_keep_their_scores(memory: Memory, reranker: ByNumber) -> None:
    reranker.ready = False
    ours = found(memory)
    reranker.ready = True
    theirs = found(memory)
    assert reranker.asked == [(QUESTION, 8)]
    assert theirs[:8] == sorted(ours[:8], key=lambda hit: number_in(hit[0])) != ours[:8]
    assert len(theirs) > 8
    assert theirs[8:] == ours[8:]


def test_a_prompt_quotes_in_that_order_and_says_so(memory: Memory, reranker: ByNumber) -> None:
    for ready in (True, False):
        reranker.ready = ready
        session = memory.create_session()
        memory.add_message(session.id, "user", QUESTION)
        report = memory.build_context(session.id, query=QUESTION, budget=Budget(tokens=200)).report
        assert report.recalls
        assert report.reordered is ready
        first = 4 if ready else 11
        assert f"number {first} " in " ".join(recall.text for recall in report.recalls)


def test_a_message_that_needs_nothing_asks_no_reranker(memory: Memory, reranker: ByNumber) -> None:
    assert memory.search("Thanks!", gated=True) == []
    assert reranker.asked == []


def test_a_slow_reranker_leaves_the_order_and_is_counted(
    memory: Memory, reranker: ByNumber, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker.ready = False
    ours = found(memory)
    reranker.ready, go_on = True, threading.Event()
    reranker.before_answering = lambda: go_on.wait(30)
    monkeypatch.setattr(memory._components.reordering._time_limit, "_seconds", 0.01)
    assert found(memory) == found(memory) == ours
    assert len(reranker.asked) == 1, "one that is late keeps the next ones from asking"
    assert memory.long_term.stats().rerank_timeouts == 2
    go_on.set()


def test_a_failing_reranker_leaves_the_order(memory: Memory, reranker: ByNumber) -> None:
    def fail() -> None:
        raise RerankerUnavailable("It is gone.")

    reranker.ready = False
    ours = found(memory)
    reranker.ready = True
    reranker.before_answering = fail
    assert found(memory) == ours


# Real ones


def test_a_cross_encoder_scores_each_text_with_the_question(tmp_path: Path) -> None:
    write_cross_encoder(tmp_path / "cross")
    reranker = WorkerReranker(tmp_path / "cross", "cross")
    try:
        assert not reranker.ready
        reranker.start()
        block_until(lambda: reranker.ready)
        scores = reranker.scores("where is it", TEXTS[:3])
        assert len({round(score, 5) for score in scores}) == 3
        assert reranker.scores("where is it", TEXTS[2::-1]) == pytest.approx(scores[::-1], abs=1e-4)
        assert reranker.scores("another question", TEXTS[:3]) != pytest.approx(scores, abs=1e-4)
        assert reranker.scores("", ["", "x" * 9000]) != []
        assert reranker.scores("nothing", []) == []
    finally:
        reranker.close()
    with pytest.raises(RerankerUnavailable, match="The reranker was closed"):
        reranker.scores("where", ["here"])


@pytest.mark.campaign  # PyTorch is loaded twice
def test_what_is_no_cross_encoder_is_an_error_of_its_worker(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    reranker = WorkerReranker(tmp_path, "nothing")
    try:
        with pytest.raises(RerankerUnavailable, match="The reranker failed twice"):
            reranker.scores("where", ["here"])
    finally:
        reranker.close()
