"""Which sentences of a passage are quoted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from memory.search.excerpt import Excerpts
from memory.search.keywords import Keyword
from memory.text import query_terms, tokens_in

FILLER = "The weather stayed calm all week and nobody had much to tell about it, so we read our books."
ANSWER = "The red canoe cost us ninety pounds in March."


def excerpts(question: str) -> Excerpts:
    return Excerpts([Keyword(term, 1.0, 1) for term in query_terms(question)])


def passage(*sentences: str, mark: str = " ") -> str:
    return mark.join(sentences)


@pytest.mark.parametrize("mark", [" ", "\n", "\n\n"])
@pytest.mark.parametrize("place", range(6))
def test_the_sentence_with_the_words_of_the_question_is_in_it(place: int, mark: str) -> None:
    sentences = [FILLER] * 5
    sentences.insert(place, ANSWER)
    text = passage(*sentences, mark=mark)
    quoted = excerpts("What did the red canoe cost?").of(text, 5)
    assert ANSWER in quoted
    assert tokens_in(quoted) < tokens_in(text) / 2


def test_short_passages_stay_whole() -> None:
    assert excerpts("Who rowed?").of(f"  {ANSWER}", 3) == f"  {ANSWER}"


def test_the_best_passages_may_say_more() -> None:
    text = passage(*(f"{ANSWER[:-1]}, said number {number}." for number in range(30)))
    sizes = [tokens_in(excerpts("What did the red canoe cost?").of(text, rank)) for rank in range(4)]
    assert sizes[0] > sizes[1] > sizes[2] == sizes[3]


def test_code_and_tables_keep_all_their_lines() -> None:
    code = "Try this:\n```\n" + "\n".join(f"canoe_{number} = paint('red')" for number in range(60)) + "\n```"
    assert excerpts("Which canoe is red?").of(code, 9) == code


def test_a_question_counts_less_than_what_is_told() -> None:
    text = passage(
        "Do you know what a red canoe would cost me here?", FILLER, FILLER, "My canoe cost ninety pounds."
    )
    quoted = excerpts("What did the red canoe cost?").of(text, 9)
    assert "ninety pounds" in quoted


def test_what_was_left_out_is_marked_and_neighbours_are_not_torn_apart() -> None:
    text = passage(ANSWER, "It was a bargain.", FILLER, FILLER, "The canoe is blue now.")
    assert excerpts("canoe").of(text, 9) == f"{ANSWER} It was a bargain. … The canoe is blue now."


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        (
            "今天天气很好，我们在家里看书，没有什么特别的事情可以说。" * 3 + "红色的独木舟花了九十英镑。",
            "独木舟多少钱",
            "九十英镑",
        ),
        (
            "今日は天気がよくて、家で本を読んでいました。" * 4 + "赤いカヌーは九十ポンドでした。",
            "カヌーはいくら",
            "九十ポンド",
        ),
    ],
)
def test_scripts_without_spaces_have_sentences_too(text: str, question: str, answer: str) -> None:
    quoted = excerpts(question).of(text, 9)
    assert answer in quoted
    assert len(quoted) < len(text) * 0.7


@pytest.mark.parametrize("words", [[], ["canoe"]])
def test_one_endless_sentence_and_a_question_without_words_quote_something(words: Sequence[str]) -> None:
    endless = "so we went on " * 100
    assert Excerpts([Keyword(term, 1.0, 1) for term in query_terms(" ".join(words))]).of(endless, 9).strip()
