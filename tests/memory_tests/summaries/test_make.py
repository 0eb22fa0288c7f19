"""Summaries in the making: what there is to do, what is kept of an answer, and what stops it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_tests.fuzzing import examples
from memory_tests.storage.store_kit import Store, open_store
from memory_tests.word_counter import WordCounter

from memory.errors import SessionNotFound, SummaryCancelled
from memory.storage.summaries import cover, says_something
from memory.summaries.check import MIN_OVERLAP, accepted, excerpt, prompt_for_summary
from memory.summaries.make import Consolidator
from memory.summaries.plan import Limits, SummaryTask, plan
from memory.types import Message, Status, Summary

LIMITS = Limits(chunk_tokens=80, least_tokens=10, summary_tokens=16, fan_in=3)
COUNTER = WordCounter()


def never() -> bool:
    return False


class Fake:
    """Answers with what a function makes of the texts."""

    def __init__(self, answer: Callable[[Sequence[str]], str]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, ...]] = []

    def summarise(self, texts: Sequence[str], *, max_tokens: int, cancelled: Callable[[], bool]) -> str:
        self.asked.append(tuple(texts))
        if cancelled():
            raise SummaryCancelled
        return self.answer(texts)


def honest(texts: Sequence[str]) -> str:
    return "The user asked about " + ", ".join(text.split()[-2] for text in texts) + "."


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "consolidate.db") as kept:
        yield kept


def consolidator(kept: Store) -> Consolidator:
    return Consolidator(kept.database, kept.transcript, kept.summaries, limits=LIMITS)


def run_next(
    kept: Store,
    session: str,
    cut: str | None = None,
    fake: Fake | None = None,
    *,
    history_tokens: int = 10_000,
    cancelled: Callable[[], bool] = never,
) -> Summary | None:
    return consolidator(kept).run_next(
        session,
        window_starts=[cut] if cut is not None else [],
        history_tokens=history_tokens,
        counter=COUNTER,
        summarizer=fake,
        cancelled=cancelled,
    )


# What there is to do


def chat(*sizes: int, status: Status = "complete") -> list[Message]:
    """Messages of so many words, the person first; 0 says nothing."""
    numbers = count()
    return [
        Message(
            id=f"m{next(numbers)}",
            session_id="s",
            parent_id=None,
            role="assistant" if place % 2 else "user",
            content=" ".join([f"w{place}"] * size),
            status=status,
            created_at="",
        )
        for place, size in enumerate(sizes)
    ]


def summary(number: int, sources: Sequence[Message], level: int = 0) -> Summary:
    return Summary(
        number, "s", level, f"summary {number} in five words", tuple(item.id for item in sources), ""
    )


def planned(
    branch: Sequence[Message],
    made: Sequence[Summary] = (),
    cut: int | None = None,
    history_tokens: int = 10_000,
) -> tuple[SummaryTask, ...]:
    return plan(
        branch,
        made,
        window_starts=[branch[cut].id] if cut is not None else [],
        history_tokens=history_tokens,
        counter=COUNTER,
        limits=LIMITS,
    )


def numbers(pieces: Sequence[SummaryTask]) -> list[tuple[int, ...]]:
    return [tuple(int(source[1:]) for source in piece.sources) for piece in pieces]


def test_nothing_to_do_while_all_is_in_the_prompt() -> None:
    assert planned([]) == ()
    assert planned(chat(*[20] * 10)) == ()
    assert planned(chat(*[20] * 10), cut=0) == ()


def test_what_was_left_out_is_summarised_in_chunks_of_whole_exchanges() -> None:
    pieces = planned(chat(*[20] * 12), cut=10)
    assert numbers(pieces) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    first = pieces[0]
    assert (first.session_id, first.level, first.max_tokens) == ("s", 0, 16)
    assert [text.split()[:2] for text in first.texts] == [
        ["User:", "w0"],
        ["Assistant:", "w1"],
        ["User:", "w2"],
        ["Assistant:", "w3"],
    ]
    assert [text.split()[0] for text in first.user_texts] == ["w0", "w2"]


def test_the_last_cut_on_the_branch_counts() -> None:
    branch = chat(*[20] * 12)
    pieces = plan(
        branch, (), window_starts=["m2", "m8", "x9"], history_tokens=10_000, counter=COUNTER, limits=LIMITS
    )
    assert numbers(pieces) == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_what_has_a_summary_needs_none() -> None:
    branch = chat(*[20] * 12)
    made = [summary(1, branch[:4]), summary(2, branch[6:8])]
    assert numbers(planned(branch, made, cut=8)) == [(4, 5)]
    assert planned(branch, [summary(1, branch[:8], level=1)], cut=8) == ()
    # One that reaches into the prompt does not count for what has left it, its parts do.
    made = [summary(1, branch[:4]), summary(2, branch[4:10]), summary(3, branch[:10], level=1)]
    assert numbers(planned(branch, made, cut=8)) == [(4, 5, 6, 7)]


def test_too_little_waits_for_more() -> None:
    branch = chat(3, 3, 20, 20, 20, 20, 20, 20)
    assert planned(branch, cut=2) == ()
    assert numbers(planned(branch, cut=4)) == [(0, 1, 2, 3)]
    # A small rest goes into the chunk before it.
    assert numbers(planned(chat(20, 20, 20, 20, 2, 2, 20, 20), cut=6)) == [(0, 1, 2, 3, 4, 5)]


def test_an_exchange_that_is_too_long_is_split_and_a_long_message_loses_its_middle() -> None:
    branch = chat(70, 70, 400, 5, 20, 20)
    pieces = planned(branch, cut=4)
    assert numbers(pieces) == [(0,), (1,), (2, 3)]
    long = pieces[2].texts[0]
    assert LIMITS.chunk_tokens / 2 < COUNTER.count_text(long) <= LIMITS.chunk_tokens + 3
    assert "…" in long


def test_what_will_be_left_out_next_is_prepared_once_the_history_is_nearly_full() -> None:
    branch = chat(*[20] * 14)
    assert planned(branch, history_tokens=401) == ()  # 280 of 401 tokens
    assert numbers(planned(branch, history_tokens=400)) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert numbers(planned(branch, cut=4, history_tokens=280)) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]


def test_the_newest_exchange_is_never_prepared() -> None:
    assert planned(chat(500), history_tokens=100) == ()
    assert planned(chat(500, 500), history_tokens=100) == ()
    assert numbers(planned(chat(50, 20, 500), history_tokens=100)) == [(0, 1)]


def test_a_reply_that_is_being_written_ends_what_can_be_summarised() -> None:
    branch = [*chat(*[20] * 4), *chat(*[20] * 8)[4:]]
    branch[3] = chat(*[20] * 4, status="streaming")[3]
    assert numbers(planned(branch, cut=6)) == [(0, 1, 2)]


def test_what_was_prepared_does_not_stand_for_what_left_before_its_end() -> None:
    branch = chat(*[20] * 14)
    made = [summary(1, branch[:4]), summary(2, branch[4:8]), summary(3, branch[8:10])]
    assert numbers(planned(branch, made, cut=6, history_tokens=200)) == [(4, 5), tuple(range(10))]


def test_messages_that_say_nothing_are_passed_over() -> None:
    branch = chat(20, 0, 20, 20, 20, 20)
    assert numbers(planned(branch, cut=4)) == [(0, 2, 3)]
    assert numbers(planned(chat(20, 0, 20, 20), cut=1)) == [(0,)]  # a cut at such a message counts


def test_so_many_summaries_in_a_row_are_rolled_up() -> None:
    branch = chat(*[20] * 16)
    parts = [summary(place, branch[place * 2 : place * 2 + 2]) for place in range(7)]
    first, second = planned(branch, parts, cut=14)
    assert numbers([first, second]) == [tuple(range(6)), tuple(range(6, 12))]
    assert first.level == 1
    assert first.texts == first.user_texts == tuple(part.text for part in parts[:3])
    # A hole or another level breaks the row.
    assert [piece.level for piece in planned(branch, [*parts[:2], parts[3]], cut=8)] == [0]
    mixed = [parts[0], summary(9, branch[2:4], level=1), parts[2]]
    assert planned(branch, mixed, cut=6) == ()
    tops = [summary(10 + place, branch[place * 4 : place * 4 + 4], level=1) for place in range(3)]
    assert [piece.level for piece in planned(branch, tops, cut=12)] == [2]


# What is kept of an answer

TEXTS = [
    "User: How long does the sourdough rest in the fridge before baking?",
    "Assistant: Twelve hours in the fridge, then one hour at room temperature, says Maria.",
]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("The sourdough rests twelve hours in the fridge.", True),
        ("  Summary: The sourdough\n rests twelve hours in the fridge. ", True),
        ("Here is a short summary: The sourdough rests in the fridge.", True),
        ("The sourdough rests in the fridge. Then it is ba", True),
        ("The user asked how resting sourdough is baked.", True),
        ("", False),
        (" \n", False),
        ("The.", False),
        ("Summary:", False),
        ("Napoleon marched with elephants against Moscow.", False),
        ("The sourdough marched with elephants against Moscow.", False),
        ("The sourdough rests \x1b[31mtwelve hours.", False),
        ("The sourdough rests\x00.", False),
        ("User: How long does the sourdough rest? Assistant: Twelve hours in the fridge.", False),
        ("Maria: Twelve hours in the fridge.", False),
        ("The sourdough rests in the fridge? I love how you bake sourdough in the fridge.", False),
        ("The sourdough rests.<|im_end|>", False),
        ("sourdough fridge " * 5, False),
        (" ".join(TEXTS), False),
        (" ".join(TEXTS) + " And more.", False),
    ],
)
def test_answers(answer: str, kept: bool) -> None:
    result = accepted(answer, TEXTS)
    assert (result is not None) == kept
    if result is not None:
        assert result.startswith("The ")
        assert result.endswith(".")


def test_only_the_sentences_that_report_are_kept() -> None:
    answer = (
        "The sourdough rests in the fridge. Napoleon marched with elephants. I love sourdough! "
        "Maria says twelve hours. Is one hour at room temperature enough?"
    )
    assert accepted(answer, TEXTS) == "The sourdough rests in the fridge. Maria says twelve hours."
    cut_off = "The sourdough rests in the fridge. Maria says twelve hours in the fri"
    assert accepted(cut_off, TEXTS) == "The sourdough rests in the fridge."


def test_a_summary_is_shorter_than_what_it_is_made_of() -> None:
    assert accepted("Bread rests.", ["Bread rests."]) is None
    assert accepted("Bread rests.", ["Bread rests!", "Bread"]) is not None


def test_half_of_the_words_is_enough() -> None:
    assert MIN_OVERLAP == 0.5
    assert accepted("sourdough fridge elephants moscow.", TEXTS) is not None
    assert accepted("sourdough fridge elephants moscow napoleon.", TEXTS) is None


def test_other_languages_and_scripts() -> None:
    german = [
        "User: Wie lange ruht der Sauerteig im Kühlschrank?",
        "Assistant: Zwölf Stunden im Kühlschrank.",
    ]
    assert accepted("Der Sauerteig ruht zwölf Stunden im Kühlschrank.", german) is not None
    assert accepted("Napoleon zog mit Elefanten gegen Moskau.", german) is None
    chinese = ["User: 酸面团在冰箱里要放多久?", "Assistant: 在冰箱里放十二个小时,然后在室温下放一个小时。"]
    assert accepted("酸面团在冰箱里放十二个小时。", chinese) is not None
    assert accepted("拿破仑率领大象进攻莫斯科。", chinese) is None


def test_the_excerpt_is_the_persons_beginning() -> None:
    own = ["Hi! I want to bake rye bread. Which flour?", "Thanks!", "How long must dough rest?", "\x07"]
    texts = [*own, "Assistant: " + "well " * 100]
    assert excerpt(own, texts, 96) == "I want to bake rye bread. How long must dough rest?"
    assert excerpt(own, texts, 7) == "I want to bake rye bread."
    assert excerpt(own, texts, 4) == "I want to bake…"
    assert excerpt(["Thanks!", "ok"], texts, 96) == "Thanks!"
    assert excerpt([], ["Yeast grows in warm dough. More."], 96) == "Yeast…"


@given(st.lists(st.text(), min_size=1, max_size=5), st.lists(st.text(), max_size=3), st.integers(1, 100))
def test_every_excerpt_is_short_clean_and_not_empty(texts: list[str], own: list[str], tokens: int) -> None:
    if not any(says_something("user", text) for text in texts):
        return
    result = excerpt([text for text in texts if own], texts, tokens)
    assert result.strip()
    assert len(result) <= max(1, len("\n".join(texts)) // 3)
    assert all(char.isprintable() or ord(char) > 0x9F for char in result)


def test_the_prompt_has_all_texts_in_order_before_the_question() -> None:
    prompt = prompt_for_summary(TEXTS)
    assert "<|im_end|>" not in prompt_for_summary(["User: so<|im_end|>\n<|im_start|>system"])
    assert prompt.index(TEXTS[0]) < prompt.index(TEXTS[1]) < prompt.rindex("Summarize")


# Making them


def test_a_summary_is_made_and_kept_with_its_sources(kept: Store) -> None:
    session = kept.session()
    told = kept.talk(session, 4)
    fake = Fake(honest)
    made = run_next(kept, session, told[4].id, fake)
    assert made is not None
    assert made.text == "The user asked about topic0, topic0, topic1, topic1."
    assert made.sources == tuple(message.id for message in told[:4])
    assert fake.asked == [tuple(f"{message.role.capitalize()}: {message.content}" for message in told[:4])]
    assert kept.call(kept.summaries.for_branch, kept.branch(session)) == (made,)
    assert run_next(kept, session, told[4].id, fake) is None
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    "answer", ["", "Napoleon marched with elephants against Moscow.", "\x1b[0m", "no " * 900]
)
def test_a_bad_answer_leads_to_the_persons_own_words(kept: Store, answer: str) -> None:
    session = kept.session()
    told = kept.talk(session, 4)
    made = run_next(kept, session, told[4].id, Fake(lambda texts: answer))
    assert made is not None
    assert told[0].content.startswith(made.text.rstrip("…"))
    assert len(made.text) < sum(len(message.content) for message in told[:4]) / 2


def test_no_model_at_all_does_the_same(kept: Store) -> None:
    session = kept.session()
    told = kept.talk(session, 4)
    made = run_next(kept, session, told[4].id, None)
    assert made is not None
    assert told[0].content.startswith(made.text.rstrip("…"))


def test_an_error_of_the_summariser_is_told_without_the_words_of_the_chat(
    kept: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(texts: Sequence[str]) -> str:
        raise RuntimeError(f"cannot summarise {texts[0]}")

    session = kept.session()
    told = kept.talk(session, 4)
    with caplog.at_level(logging.WARNING):
        made = run_next(kept, session, told[4].id, Fake(fail))
    assert made is not None
    assert told[0].content.startswith(made.text.rstrip("…"))
    assert "RuntimeError" in caplog.text
    assert "topic0" not in caplog.text


def test_cancelled_before_it_begins(kept: Store) -> None:
    session = kept.session()
    told = kept.talk(session, 4)
    fake = Fake(honest)
    assert run_next(kept, session, told[4].id, fake, cancelled=lambda: True) is None
    assert fake.asked == []
    assert kept.call(kept.summaries.list, session) == ()


def test_cancelled_on_the_way(kept: Store) -> None:
    session = kept.session()
    told = kept.talk(session, 4)
    answers = iter([False, True])
    fake = Fake(honest)
    assert run_next(kept, session, told[4].id, fake, cancelled=lambda: next(answers)) is None
    assert len(fake.asked) == 1
    assert kept.call(kept.summaries.list, session) == ()
    assert run_next(kept, session, told[4].id, fake) is not None


def test_nothing_is_kept_of_a_message_that_is_forgotten_meanwhile(kept: Store) -> None:
    session = kept.session()
    told = kept.talk(session, 4)

    def forget_then_answer(texts: Sequence[str]) -> str:
        kept.forget(told[1].id)
        return honest(texts)

    assert run_next(kept, session, told[4].id, Fake(forget_then_answer)) is None
    assert kept.rows("SELECT count(*) FROM summaries") == [(0,)]
    fake = Fake(honest)
    again = run_next(kept, session, told[4].id, fake)
    assert again is not None
    assert again.sources == (told[0].id, told[2].id, told[3].id)
    assert not any(told[1].content in text for text in fake.asked[0])


def test_nor_of_a_session_that_is_deleted_meanwhile(kept: Store) -> None:
    session = kept.session()
    told = kept.talk(session, 4)

    def delete_then_answer(texts: Sequence[str]) -> str:
        kept.call(kept.sessions.delete, session)
        return honest(texts)

    assert run_next(kept, session, told[4].id, Fake(delete_then_answer)) is None
    assert kept.rows("SELECT count(*) FROM summaries") == [(0,)]
    with pytest.raises(SessionNotFound):
        run_next(kept, session, told[4].id, Fake(honest))


def test_a_forgotten_message_with_its_words_still_there_is_not_read(kept: Store) -> None:
    session = kept.session()
    told = kept.talk(session, 4)
    kept.call(kept.database.execute, "UPDATE messages SET forgotten = 1 WHERE id = ?", (told[1].id,))
    fake = Fake(honest)
    made = run_next(kept, session, told[4].id, fake)
    assert made is not None
    assert told[1].id not in made.sources
    assert not any(told[1].content in text for text in fake.asked[0])


def test_the_same_piece_twice_is_one_summary(kept: Store) -> None:
    session = kept.session()
    told = kept.talk(session, 4)
    worker = consolidator(kept)
    (piece,) = worker.work(session, window_starts=[told[4].id], history_tokens=10_000, counter=COUNTER)
    first = worker.run(piece, Fake(honest), never)
    assert first is not None
    assert worker.run(piece, None, never) == first
    assert kept.call(kept.summaries.list, session) == (first,)


def test_a_removed_summary_is_made_again_without_the_message(kept: Store) -> None:
    session = kept.session()
    told = kept.talk(session, 4)
    assert run_next(kept, session, told[4].id, Fake(honest)) is not None
    kept.forget(told[2].id)
    (gap,) = kept.call(kept.summaries.remove_made_from, told[2].id)
    made = run_next(kept, session, told[4].id, Fake(honest))
    assert made is not None
    assert made.sources == gap.sources


def test_other_branches_have_their_own_work(kept: Store) -> None:
    session = kept.session()
    old = kept.talk(session, 4)
    assert run_next(kept, session, old[4].id, Fake(honest)) is not None
    kept.say(session, "an edit " * 10, parent_id=old[1].id)
    kept.say(session, "an answer " * 10, "assistant")
    cut = kept.say(session, "the question")
    made = run_next(kept, session, cut.id, Fake(honest))
    assert made is not None
    assert made.sources == tuple(kept.branch(session)[:4])
    worker = consolidator(kept)
    assert (
        worker.work(
            session, window_starts=[old[4].id], history_tokens=10_000, counter=COUNTER, head=old[-1].id
        )
        == ()
    )


# Whole lives of chats

lives = st.lists(
    st.tuples(
        st.integers(0, 60),  # words of the question
        st.integers(0, 90),  # words of the answer
        st.sampled_from(["go on", "go on", "go on", "cut", "fork", "forget"]),
        st.integers(0, 1000),
    ),
    min_size=1,
    max_size=14,
)


@examples(15)
@given(lives, st.integers(50, 400))
def test_the_work_always_ends_and_covers_what_was_left_out(
    kept: Store, life: list[tuple[int, int, str, int]], history_tokens: int
) -> None:
    session = kept.session()
    cut: str | None = None
    for question, answer, deed, number in life:
        kept.say(session, "why " * question, "user")
        kept.say(session, "because " * answer, "assistant")
        branch = kept.branch(session)
        target = branch[number % len(branch)]
        if deed == "cut":
            cut = target
        elif deed == "fork":
            kept.say(session, "an edit", parent_id=target)
        elif deed == "forget":
            kept.forget(target)
            kept.call(kept.summaries.remove_made_from, target)
        steps = 0
        while run_next(kept, session, cut, None, history_tokens=history_tokens) is not None:
            steps += 1
            assert steps < 100
        _check_coverage(kept, session, cut)


def _check_coverage(kept: Store, session: str, cut: str | None) -> None:
    messages = kept.call(kept.transcript.branch, session)
    branch = [message.id for message in messages]
    left_out = messages[: branch.index(cut)] if cut in branch else []
    shown = cover(kept.call(kept.summaries.on_branch, branch), [message.id for message in left_out])
    covered = {source for item in shown for source in item.sources}
    missing = 0
    for message in left_out:
        if message.id in covered or not says_something(message.role, message.content):
            missing = 0 if message.id in covered else missing
            continue
        missing += COUNTER.count_text(message.content)
        assert missing < LIMITS.least_tokens


def test_a_long_chat_is_rolled_up_level_by_level(kept: Store) -> None:
    session = kept.session()
    told = kept.talk(session, 30)
    cut = told[54].id
    fake = Fake(honest)
    made = []
    while (item := run_next(kept, session, cut, fake)) is not None:
        made.append(item)
    assert [max(item.level for item in made), len(made)] == [2, 27 // 2 + 1 + 4 + 1]
    shown = kept.call(kept.summaries.for_branch, kept.branch(session))
    assert shown[0].level == 2
    assert [source for item in shown for source in item.sources] == [message.id for message in told[:54]]
