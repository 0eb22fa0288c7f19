"""Summaries and the branches they hold for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_tests.fuzzing import examples
from memory_tests.storage.store_kit import Store, open_store

from memory.errors import MessageNotFound
from memory.storage.summaries import Gap, cover, says_something
from memory.types import Message, Summary


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "summaries.db") as kept:
        yield kept


def ids(messages: list[Message]) -> list[str]:
    return [message.id for message in messages]


def add(kept: Store, session: str, sources: list[str], level: int = 0, text: str = "short") -> Summary:
    return kept.call(kept.summaries.add, session, level, text, sources)


def shown(kept: Store, branch: list[str]) -> list[int]:
    return [item.id for item in kept.call(kept.summaries.for_branch, branch)]


def test_a_summary_has_its_sources(kept: Store) -> None:
    session = kept.session()
    branch = ids(kept.talk(session, 3))
    made = add(kept, session, branch[:4], text=" The talk was of topic0 and topic1.\n")
    assert made == Summary(
        made.id, session, 0, "The talk was of topic0 and topic1.", tuple(branch[:4]), made.created_at
    )
    assert kept.call(kept.summaries.list, session) == (made,)
    assert kept.call(kept.summaries.for_branch, branch) == (made,)
    assert kept.call(kept.summaries.for_branch, []) == ()
    assert kept.call(kept.summaries.list, kept.session()) == ()


def test_summaries_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "summaries.db"
    with open_store(path) as kept:
        session = kept.session()
        branch = ids(kept.talk(session, 2))
        made = add(kept, session, branch)
    with open_store(path) as kept:
        assert kept.call(kept.summaries.for_branch, branch) == (made,)


def test_the_same_sources_are_not_entered_twice(kept: Store) -> None:
    session = kept.session()
    branch = ids(kept.talk(session, 3))
    first = add(kept, session, branch[:4])
    assert add(kept, session, branch[:4], text="another") == first
    assert add(kept, session, branch[:4], level=1) != first
    assert add(kept, session, branch[:2]) != first
    assert len(kept.call(kept.summaries.list, session)) == 3


def test_sources_must_be_a_contiguous_part_of_one_branch(kept: Store) -> None:
    session = kept.session()
    branch = ids(kept.talk(session, 3))
    other = kept.say(session, "an edit", parent_id=branch[1])
    for sources in (
        [],
        [branch[0], branch[2]],
        [branch[1], branch[0]],
        [branch[0], branch[0]],
        [*branch[:3], other.id],
        [branch[2], other.id],
    ):
        with pytest.raises(ValueError, match=r"A summary needs sources|contiguous"):
            add(kept, session, sources)
    with pytest.raises(ValueError, match="needs a text"):
        add(kept, session, branch[:2], text=" \n")
    assert kept.call(kept.summaries.list, session) == ()


def test_what_is_gone_or_elsewhere_cannot_be_a_source(kept: Store) -> None:
    session, elsewhere = kept.session(), kept.session()
    branch = ids(kept.talk(session, 3))
    foreign = kept.say(elsewhere, "hello").id
    kept.forget(branch[2])
    for sources, missing in (
        (branch[:4], branch[2]),
        ([branch[0], "0" * 32], "0" * 32),
        ([foreign], foreign),
    ):
        with pytest.raises(MessageNotFound) as caught:
            add(kept, session, sources)
        assert caught.value.message_id == missing
    assert kept.rows("SELECT count(*) FROM summaries") == [(0,)]
    assert kept.rows("SELECT count(*) FROM summary_sources") == [(0,)]


def test_messages_that_say_nothing_may_lie_between(kept: Store) -> None:
    session = kept.session()
    first = kept.say(session, "one")
    kept.say(session, "rules", "system")
    kept.say(session, " \n\x07", "assistant")
    forgotten = kept.say(session, "secret")
    last = kept.say(session, "two")
    with pytest.raises(ValueError, match="contiguous"):
        add(kept, session, [first.id, last.id])
    kept.forget(forgotten.id)
    made = add(kept, session, [first.id, last.id])
    branch = kept.branch(session)
    assert len(branch) == 5
    assert shown(kept, branch) == [made.id]
    assert shown(kept, branch[:4]) == []


def test_a_reply_that_was_empty_and_is_no_longer_hides_what_stood_around_it(kept: Store) -> None:
    session = kept.session()
    first = kept.say(session, "one")
    reply = kept.call(kept.transcript.begin_reply, session, first.id, None)
    last = kept.say(session, "two")
    made = add(kept, session, [first.id, last.id])
    branch = kept.branch(session)
    assert shown(kept, branch) == [made.id]
    kept.call(kept.transcript.finish_reply, reply.id, "late words", "complete", None, None, None)
    assert shown(kept, branch) == []


def test_a_rolled_up_summary_stands_in_for_its_parts(kept: Store) -> None:
    session = kept.session()
    branch = ids(kept.talk(session, 5))
    parts = [add(kept, session, branch[start : start + 2]) for start in range(0, 8, 2)]
    roll = add(kept, session, branch[:6], level=1)
    assert shown(kept, branch) == [roll.id, parts[3].id]
    assert shown(kept, branch[:6]) == [roll.id]
    assert shown(kept, branch[:5]) == [parts[0].id, parts[1].id]
    assert shown(kept, branch[2:]) == [part.id for part in parts[1:]]
    everything = kept.call(kept.summaries.on_branch, branch)
    assert [item.id for item in everything] == [*(part.id for part in parts), roll.id]
    assert [item.id for item in cover(everything, branch[:4])] == [parts[0].id, parts[1].id]


def test_a_fork_has_the_summaries_of_what_it_shares(kept: Store) -> None:
    session = kept.session()
    old = ids(kept.talk(session, 3))
    parts = [add(kept, session, old[start : start + 2]) for start in (0, 2, 4)]
    roll = add(kept, session, old, level=1)
    fork = kept.say(session, "an edit", parent_id=old[3])
    new = kept.branch(session)
    assert new == [*old[:4], fork.id]
    assert shown(kept, new) == [parts[0].id, parts[1].id]
    assert shown(kept, old) == [roll.id]
    own = add(kept, session, [fork.id])
    assert shown(kept, new) == [parts[0].id, parts[1].id, own.id]
    assert shown(kept, old) == [roll.id]


def test_of_two_that_overlap_the_longer_is_shown_then_the_newer(kept: Store) -> None:
    session = kept.session()
    branch = ids(kept.talk(session, 3))
    add(kept, session, branch[1:3])
    long = add(kept, session, branch[2:5])
    assert shown(kept, branch) == [long.id]
    newer = add(kept, session, branch[0:3])
    assert shown(kept, branch) == [newer.id]


def test_removing_what_was_made_from_a_message(kept: Store) -> None:
    session, elsewhere = kept.session(), kept.session()
    branch, other = ids(kept.talk(session, 4)), ids(kept.talk(elsewhere, 1))
    parts = [add(kept, session, branch[start : start + 4]) for start in (0, 4)]
    add(kept, session, branch, level=1)
    untouched = add(kept, elsewhere, other)
    gaps = kept.call(kept.summaries.remove_made_from, branch[1])
    assert gaps == (Gap(session, (branch[0], branch[2], branch[3])),)
    assert kept.call(kept.summaries.list, session) == (parts[1],)
    assert kept.call(kept.summaries.list, elsewhere) == (untouched,)
    assert kept.call(kept.summaries.remove_made_from, branch[1]) == ()
    alone = add(kept, session, branch[:1])
    assert kept.call(kept.summaries.remove_made_from, branch[0]) == ()
    assert alone not in kept.call(kept.summaries.list, session)
    assert kept.rows("SELECT DISTINCT summary_id FROM summary_sources ORDER BY 1") == [
        (parts[1].id,),
        (untouched.id,),
    ]


def test_a_summary_of_a_forgotten_message_is_hidden_at_once(kept: Store) -> None:
    session = kept.session()
    branch = ids(kept.talk(session, 3))
    add(kept, session, branch[:4])
    rest = add(kept, session, branch[4:])
    kept.forget(branch[2])
    assert shown(kept, branch) == [rest.id]
    assert kept.call(kept.summaries.list, session) == (rest,)
    assert kept.call(kept.summaries.forgotten, session) == {branch[2]}


def test_removed_words_are_in_no_file(tmp_path: Path) -> None:
    with open_store(tmp_path / "data" / "summaries.db") as kept:
        session, other = kept.session(), kept.session()
        branch = ids(kept.talk(session, 40))
        for start in range(0, 80, 2):
            add(kept, session, branch[start : start + 2], text=f"secret-words {start} " * 20)
            kept.call(kept.summaries.remove_made_from, branch[start])
        spared = ids(kept.talk(other, 1))
        add(kept, other, spared, text="stays-here")
        kept.call(kept.database.checkpoint)
        stored = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    assert b"stays-here" in stored
    assert b"secret-words" not in stored


def test_summaries_go_with_their_session(kept: Store) -> None:
    session, other = kept.session(), kept.session()
    add(kept, session, ids(kept.talk(session, 2)))
    stays = add(kept, other, ids(kept.talk(other, 2)))
    kept.call(kept.sessions.delete, session)
    assert kept.rows("SELECT id FROM summaries") == [(stays.id,)]


# Random trees


@dataclass(frozen=True)
class Tree:
    """Parents by number, what each message says, which summaries are made, which messages are forgotten."""

    parents: list[int]
    contents: list[tuple[str, str]]
    spans: list[tuple[int, int, int, int]]
    forgotten: set[int]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    size = draw(st.integers(1, 14))
    # Mostly chains: a tree whose branches share nothing would have nothing to summarise.
    parents = [draw(st.one_of(st.just(place - 1), st.integers(-1, place - 1))) for place in range(size)]
    spoken = st.sampled_from(["user", "assistant"])
    told = st.one_of(
        st.tuples(spoken, st.just("words")),
        st.tuples(st.just("system"), st.just("rules")),
        st.tuples(spoken, st.just(" ")),
    )
    contents = [draw(told) for _ in range(size)]
    places = st.integers(0, size - 1)
    spans = draw(st.lists(st.tuples(places, places, st.integers(1, 6), st.integers(0, 2)), max_size=12))
    return Tree(parents, contents, spans, draw(st.sets(places, max_size=2)))


class Grown:
    """A tree in the database, and what a reader with pen and paper knows of it."""

    def __init__(self, kept: Store, tree: Tree) -> None:
        self.kept = kept
        self.session = kept.session()
        self.messages: list[Message] = []
        self.parents = tree.parents
        for parent, (role, content) in zip(tree.parents, tree.contents, strict=True):
            above = self.messages[parent].id if parent >= 0 else None
            self.messages.append(kept.say(self.session, content, role, above))  # type: ignore[arg-type]
        self.number = {message.id: place for place, message in enumerate(self.messages)}
        self.silent = {
            place for place, item in enumerate(self.messages) if not says_something(item.role, item.content)
        }
        self.made: list[Summary] = []
        for tip, start, length, level in tree.spans:
            path = [place for place in self.path(tip) if place not in self.silent]
            sources = [self.messages[place].id for place in path[start : start + length]]
            if sources:
                self.made.append(add(kept, self.session, sources, level))
        for place in tree.forgotten:
            kept.forget(self.messages[place].id)

    def path(self, tip: int) -> list[int]:
        """From the root to this message."""
        path = [tip]
        while self.parents[path[-1]] >= 0:
            path.append(self.parents[path[-1]])
        return path[::-1]

    def holds(self, summary: Summary, path: list[int], gone: set[int]) -> bool:
        places = [self.number[source] for source in summary.sources]
        if not set(places) <= set(path) or gone & set(places):
            return False
        span = path[path.index(places[0]) : path.index(places[-1]) + 1]
        return [place for place in span if place in places or place not in self.silent | gone] == places


@examples(40)
@given(trees())
def test_every_branch_of_every_tree(kept: Store, tree: Tree) -> None:
    grown = kept.call(Grown, kept, tree)
    for tip in range(len(tree.parents)):
        path = grown.path(tip)
        branch = [grown.messages[place].id for place in path]
        for part in (path, path[: len(path) // 2], path[len(path) // 3 :]):
            message_ids = [grown.messages[place].id for place in part]
            chosen = kept.call(kept.summaries.for_branch, message_ids)
            valid = {item for item in grown.made if grown.holds(item, part, tree.forgotten)}
            assert set(chosen) <= valid
            sources = [source for item in chosen for source in item.sources]
            assert len(sources) == len(set(sources))
            places = [branch.index(source) for source in sources]
            assert all(one < other for one, other in pairwise(places))
            for left_out in valid - set(chosen):
                rivals = [item for item in chosen if set(item.sources) & set(left_out.sources)]
                assert any(rival.level >= left_out.level for rival in rivals)


@examples(25)
@given(trees(), st.data())
def test_nothing_is_left_of_a_message_in_any_tree(kept: Store, tree: Tree, data: st.DataObject) -> None:
    grown = kept.call(Grown, kept, tree)
    victim = data.draw(st.integers(0, len(tree.parents) - 1))
    message_id = grown.messages[victim].id
    before = {item.id: item for item in grown.made}
    gaps = kept.call(kept.summaries.remove_made_from, message_id)
    rows = kept.rows(f"SELECT id FROM summaries WHERE session_id = '{grown.session}'")
    left = {row[0] for row in rows}
    assert left == {number for number, item in before.items() if message_id not in item.sources}
    removed = [item for number, item in before.items() if number not in left and item.level == 0]
    expected = {tuple(x for x in item.sources if x != message_id) for item in removed} - {()}
    assert {gap.sources for gap in gaps} == expected
    assert all(gap.session_id == grown.session for gap in gaps)
