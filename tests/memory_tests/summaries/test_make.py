"""Summaries are made, stored with their sources, and cancelled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_tests.fuzzing import examples
from memory_tests.storage.store_kit import Store
from word_counter import WordCounter

from memory.errors import SessionNotFound, SummaryCancelled
from memory.storage.summaries import cover, says_something
from memory.summaries.make import Consolidator
from memory.summaries.plan import Limits
from memory.types import Summary

LIMITS = Limits(chunk_tokens=80, least_tokens=10, summary_tokens=16, fan_in=3)
COUNTER = WordCounter()


def never() -> bool:
    return False


class Fake:
    """A summariser that answers with a function of the texts."""

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


def consolidator(store: Store) -> Consolidator:
    return Consolidator(store.database, store.transcript, store.summaries, limits=LIMITS)


def run_next(
    store: Store,
    session: str,
    start: str | None = None,
    fake: Fake | None = None,
    *,
    history_tokens: int = 10_000,
    cancelled: Callable[[], bool] = never,
) -> Summary | None:
    return consolidator(store).run_next(
        session,
        window_starts=[start] if start is not None else [],
        history_tokens=history_tokens,
        counter=COUNTER,
        summarizer=fake,
        cancelled=cancelled,
    )


def test_a_summary_is_made_and_stored_with_its_sources(store: Store) -> None:
    session = store.session()
    told = store.talk(session, 4)
    fake = Fake(honest)
    made = run_next(store, session, told[4].id, fake)
    assert made is not None
    assert made.text == "The user asked about topic0, topic0, topic1, topic1."
    assert made.sources == tuple(message.id for message in told[:4])
    assert fake.asked == [tuple(f"{message.role.capitalize()}: {message.content}" for message in told[:4])]
    assert store.call(store.summaries.for_branch, store.branch(session)) == (made,)
    assert run_next(store, session, told[4].id, fake) is None
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    "answer", ["", "Napoleon marched with elephants against Moscow.", "\x1b[0m", "no " * 900]
)
def test_a_bad_answer_is_replaced_by_the_users_words(store: Store, answer: str) -> None:
    session = store.session()
    told = store.talk(session, 4)
    made = run_next(store, session, told[4].id, Fake(lambda texts: answer))
    assert made is not None
    assert told[0].content.startswith(made.text.rstrip("…"))
    assert len(made.text) < sum(len(message.content) for message in told[:4]) / 2


def test_without_a_model_the_users_words_are_used(store: Store) -> None:
    session = store.session()
    told = store.talk(session, 4)
    made = run_next(store, session, told[4].id, None)
    assert made is not None
    assert told[0].content.startswith(made.text.rstrip("…"))


def test_a_summariser_error_is_logged_without_chat_text(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(texts: Sequence[str]) -> str:
        raise RuntimeError(f"cannot summarise {texts[0]}")

    session = store.session()
    told = store.talk(session, 4)
    with caplog.at_level(logging.WARNING):
        made = run_next(store, session, told[4].id, Fake(fail))
    assert made is not None
    assert told[0].content.startswith(made.text.rstrip("…"))
    assert "RuntimeError" in caplog.text
    assert "topic0" not in caplog.text


def test_cancelled_before_it_starts(store: Store) -> None:
    session = store.session()
    told = store.talk(session, 4)
    fake = Fake(honest)
    assert run_next(store, session, told[4].id, fake, cancelled=lambda: True) is None
    assert fake.asked == []
    assert store.call(store.summaries.list, session) == ()


def test_cancelled_while_it_runs(store: Store) -> None:
    session = store.session()
    told = store.talk(session, 4)
    answers = iter([False, True])
    fake = Fake(honest)
    assert run_next(store, session, told[4].id, fake, cancelled=lambda: next(answers)) is None
    assert len(fake.asked) == 1
    assert store.call(store.summaries.list, session) == ()
    assert run_next(store, session, told[4].id, fake) is not None


def test_nothing_is_stored_if_a_source_is_forgotten_meanwhile(store: Store) -> None:
    session = store.session()
    told = store.talk(session, 4)

    def forget_then_answer(texts: Sequence[str]) -> str:
        store.forget(told[1].id)
        return honest(texts)

    assert run_next(store, session, told[4].id, Fake(forget_then_answer)) is None
    assert store.rows("SELECT count(*) FROM summaries") == [(0,)]
    fake = Fake(honest)
    again = run_next(store, session, told[4].id, fake)
    assert again is not None
    assert again.sources == (told[0].id, told[2].id, told[3].id)
    assert not any(told[1].content in text for text in fake.asked[0])


def test_nothing_is_stored_if_the_session_is_deleted_meanwhile(store: Store) -> None:
    session = store.session()
    told = store.talk(session, 4)

    def delete_then_answer(texts: Sequence[str]) -> str:
        store.call(store.sessions.delete, session)
        return honest(texts)

    assert run_next(store, session, told[4].id, Fake(delete_then_answer)) is None
    assert store.rows("SELECT count(*) FROM summaries") == [(0,)]
    with pytest.raises(SessionNotFound):
        run_next(store, session, told[4].id, Fake(honest))


def test_a_forgotten_message_whose_text_remains_is_not_read(store: Store) -> None:
    session = store.session()
    told = store.talk(session, 4)
    store.call(store.database.execute, "UPDATE messages SET forgotten = 1 WHERE id = ?", (told[1].id,))
    fake = Fake(honest)
    made = run_next(store, session, told[4].id, fake)
    assert made is not None
    assert told[1].id not in made.sources
    assert not any(told[1].content in text for text in fake.asked[0])


def test_the_same_task_twice_makes_one_summary(store: Store) -> None:
    session = store.session()
    told = store.talk(session, 4)
    worker = consolidator(store)
    (task,) = worker.work(session, window_starts=[told[4].id], history_tokens=10_000, counter=COUNTER)
    first = worker.run(task, Fake(honest), never)
    assert first is not None
    assert worker.run(task, None, never) == first
    assert store.call(store.summaries.list, session) == (first,)


def test_a_removed_summary_is_made_again_without_the_message(store: Store) -> None:
    session = store.session()
    told = store.talk(session, 4)
    assert run_next(store, session, told[4].id, Fake(honest)) is not None
    store.forget(told[2].id)
    (gap,) = store.call(store.summaries.remove_made_from, told[2].id)
    made = run_next(store, session, told[4].id, Fake(honest))
    assert made is not None
    assert made.sources == gap.sources


def test_other_branches_have_their_own_tasks(store: Store) -> None:
    session = store.session()
    old = store.talk(session, 4)
    assert run_next(store, session, old[4].id, Fake(honest)) is not None
    store.say(session, "an edit " * 10, parent_id=old[1].id)
    store.say(session, "an answer " * 10, "assistant")
    start = store.say(session, "the question")
    made = run_next(store, session, start.id, Fake(honest))
    assert made is not None
    assert made.sources == tuple(store.branch(session)[:4])
    worker = consolidator(store)
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
        st.sampled_from(["go on", "go on", "go on", "evict", "fork", "forget"]),
        st.integers(0, 1000),
    ),
    min_size=1,
    max_size=14,
)


@examples(15)
@given(lives, st.integers(50, 400))
def test_the_work_always_ends_and_covers_what_was_evicted(
    store: Store, life: list[tuple[int, int, str, int]], history_tokens: int
) -> None:
    session = store.session()
    start: str | None = None
    for question, answer, deed, number in life:
        store.say(session, "why " * question, "user")
        store.say(session, "because " * answer, "assistant")
        branch = store.branch(session)
        target = branch[number % len(branch)]
        if deed == "evict":
            start = target
        elif deed == "fork":
            store.say(session, "an edit", parent_id=target)
        elif deed == "forget":
            store.forget(target)
            store.call(store.summaries.remove_made_from, target)
        steps = 0
        while run_next(store, session, start, None, history_tokens=history_tokens) is not None:
            steps += 1
            assert steps < 100
        _check_coverage(store, session, start)


def _check_coverage(store: Store, session: str, start: str | None) -> None:
    messages = store.call(store.transcript.branch, session)
    branch = [message.id for message in messages]
    left_out = messages[: branch.index(start)] if start in branch else []
    shown = cover(store.call(store.summaries.on_branch, branch), [message.id for message in left_out])
    covered = {source for item in shown for source in item.sources}
    missing = 0
    for message in left_out:
        if message.id in covered or not says_something(message.role, message.content):
            missing = 0 if message.id in covered else missing
            continue
        missing += COUNTER.count_text(message.content)
        assert missing < LIMITS.least_tokens


def test_a_long_chat_is_rolled_up_level_by_level(store: Store) -> None:
    session = store.session()
    told = store.talk(session, 30)
    start = told[54].id
    fake = Fake(honest)
    made = []
    while (item := run_next(store, session, start, fake)) is not None:
        made.append(item)
    assert [max(item.level for item in made), len(made)] == [2, 27 // 2 + 1 + 4 + 1]
    shown = store.call(store.summaries.for_branch, store.branch(session))
    assert shown[0].level == 2
    assert [source for item in shown for source in item.sources] == [message.id for message in told[:54]]
