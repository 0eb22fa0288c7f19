"""What to summarise next: chunks that left the prompt, chunks that will, and higher levels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from word_counter import WordCounter

from memory.summaries.plan import Limits, SummaryTask, plan
from memory.types import Message, Status, Summary

LIMITS = Limits(chunk_tokens=80, least_tokens=10, summary_tokens=16, fan_in=3)
COUNTER = WordCounter()


def chat(*sizes: int, status: Status = "complete") -> list[Message]:
    """Messages with these numbers of words, the user first; 0 makes a silent message."""
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
    start: int | None = None,
    history_tokens: int = 10_000,
) -> tuple[SummaryTask, ...]:
    return plan(
        branch,
        made,
        window_starts=[branch[start].id] if start is not None else [],
        history_tokens=history_tokens,
        counter=COUNTER,
        limits=LIMITS,
    )


def numbers(tasks: Sequence[SummaryTask]) -> list[tuple[int, ...]]:
    return [tuple(int(source[1:]) for source in task.sources) for task in tasks]


def test_nothing_to_do_while_all_is_in_the_prompt() -> None:
    assert planned([]) == ()
    assert planned(chat(*[20] * 10)) == ()
    assert planned(chat(*[20] * 10), start=0) == ()


def test_evicted_messages_are_summarised_in_chunks_of_whole_exchanges() -> None:
    tasks = planned(chat(*[20] * 12), start=10)
    assert numbers(tasks) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    first = tasks[0]
    assert (first.session_id, first.level, first.max_tokens) == ("s", 0, 16)
    assert [text.split()[:2] for text in first.texts] == [
        ["User:", "w0"],
        ["Assistant:", "w1"],
        ["User:", "w2"],
        ["Assistant:", "w3"],
    ]
    assert [text.split()[0] for text in first.user_texts] == ["w0", "w2"]


def test_the_last_window_start_on_the_branch_counts() -> None:
    branch = chat(*[20] * 12)
    tasks = plan(
        branch, (), window_starts=["m2", "m8", "x9"], history_tokens=10_000, counter=COUNTER, limits=LIMITS
    )
    assert numbers(tasks) == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_covered_messages_need_no_summary() -> None:
    branch = chat(*[20] * 12)
    made = [summary(1, branch[:4]), summary(2, branch[6:8])]
    assert numbers(planned(branch, made, start=8)) == [(4, 5)]
    assert planned(branch, [summary(1, branch[:8], level=1)], start=8) == ()
    # A summary that reaches into the window does not cover what has left it; those it sums up do.
    made = [summary(1, branch[:4]), summary(2, branch[4:10]), summary(3, branch[:10], level=1)]
    assert numbers(planned(branch, made, start=8)) == [(4, 5, 6, 7)]


def test_too_few_tokens_wait_for_more() -> None:
    branch = chat(3, 3, 20, 20, 20, 20, 20, 20)
    assert planned(branch, start=2) == ()
    assert numbers(planned(branch, start=4)) == [(0, 1, 2, 3)]
    # A small remainder joins the chunk before it.
    assert numbers(planned(chat(20, 20, 20, 20, 2, 2, 20, 20), start=6)) == [(0, 1, 2, 3, 4, 5)]


def test_an_exchange_that_is_too_long_is_split_and_a_long_message_loses_its_middle() -> None:
    branch = chat(70, 70, 400, 5, 20, 20)
    tasks = planned(branch, start=4)
    assert numbers(tasks) == [(0,), (1,), (2, 3)]
    long = tasks[2].texts[0]
    assert LIMITS.chunk_tokens / 2 < COUNTER.count_text(long) <= LIMITS.chunk_tokens + 3
    assert "…" in long


def test_the_next_eviction_is_prepared_once_the_history_is_nearly_full() -> None:
    branch = chat(*[20] * 14)
    assert planned(branch, history_tokens=401) == ()  # 280 of 401 tokens
    assert numbers(planned(branch, history_tokens=400)) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert numbers(planned(branch, start=4, history_tokens=280)) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]


def test_the_newest_exchange_is_never_prepared() -> None:
    assert planned(chat(500), history_tokens=100) == ()
    assert planned(chat(500, 500), history_tokens=100) == ()
    assert numbers(planned(chat(50, 20, 500), history_tokens=100)) == [(0, 1)]


def test_nothing_after_a_streaming_reply_is_summarised() -> None:
    branch = [*chat(*[20] * 4), *chat(*[20] * 8)[4:]]
    branch[3] = chat(*[20] * 4, status="streaming")[3]
    assert numbers(planned(branch, start=6)) == [(0, 1, 2)]


def test_a_prepared_summary_that_reaches_into_the_window_does_not_cover() -> None:
    branch = chat(*[20] * 14)
    made = [summary(1, branch[:4]), summary(2, branch[4:8]), summary(3, branch[8:10])]
    assert numbers(planned(branch, made, start=6, history_tokens=200)) == [(4, 5), tuple(range(10))]


def test_silent_messages_are_skipped() -> None:
    branch = chat(20, 0, 20, 20, 20, 20)
    assert numbers(planned(branch, start=4)) == [(0, 2, 3)]
    assert numbers(planned(chat(20, 0, 20, 20), start=1)) == [(0,)]  # a window may start at such a message


def test_a_run_of_summaries_is_rolled_up() -> None:
    branch = chat(*[20] * 16)
    parts = [summary(place, branch[place * 2 : place * 2 + 2]) for place in range(7)]
    first, second = planned(branch, parts, start=14)
    assert numbers([first, second]) == [tuple(range(6)), tuple(range(6, 12))]
    assert first.level == 1
    assert first.texts == first.user_texts == tuple(part.text for part in parts[:3])
    # A gap or another level breaks the run.
    assert [task.level for task in planned(branch, [*parts[:2], parts[3]], start=8)] == [0]
    mixed = [parts[0], summary(9, branch[2:4], level=1), parts[2]]
    assert planned(branch, mixed, start=6) == ()
    tops = [summary(10 + place, branch[place * 4 : place * 4 + 4], level=1) for place in range(3)]
    assert [task.level for task in planned(branch, tops, start=12)] == [2]
