"""Summaries and the branches on which they are valid."""

from __future__ import annotations

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


def ids(messages: list[Message]) -> list[str]:
    return [message.id for message in messages]


def add(store: Store, session: str, sources: list[str], level: int = 0, text: str = "short") -> Summary:
    return store.call(store.summaries.add, session, level, text, sources)


def shown(store: Store, branch: list[str]) -> list[int]:
    return [item.id for item in store.call(store.summaries.for_branch, branch)]


def test_a_summary_has_its_sources(store: Store) -> None:
    session = store.session()
    branch = ids(store.talk(session, 3))
    made = add(store, session, branch[:4], text=" The talk was of topic0 and topic1.\n")
    assert made == Summary(
        made.id, session, 0, "The talk was of topic0 and topic1.", tuple(branch[:4]), made.created_at
    )
    assert store.call(store.summaries.list, session) == (made,)
    assert store.call(store.summaries.for_branch, branch) == (made,)
    assert store.call(store.summaries.for_branch, []) == ()
    assert store.call(store.summaries.list, store.session()) == ()


def test_summaries_survive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "summaries.db"
    with open_store(path) as store:
        session = store.session()
        branch = ids(store.talk(session, 2))
        made = add(store, session, branch)
    with open_store(path) as store:
        assert store.call(store.summaries.for_branch, branch) == (made,)


def test_the_same_sources_are_stored_once(store: Store) -> None:
    session = store.session()
    branch = ids(store.talk(session, 3))
    first = add(store, session, branch[:4])
    assert add(store, session, branch[:4], text="another") == first
    assert add(store, session, branch[:4], level=1) != first
    assert add(store, session, branch[:2]) != first
    assert len(store.call(store.summaries.list, session)) == 3


def test_sources_must_be_a_contiguous_part_of_one_branch(store: Store) -> None:
    session = store.session()
    branch = ids(store.talk(session, 3))
    other = store.say(session, "an edit", parent_id=branch[1])
    for sources in (
        [],
        [branch[0], branch[2]],
        [branch[1], branch[0]],
        [branch[0], branch[0]],
        [*branch[:3], other.id],
        [branch[2], other.id],
    ):
        with pytest.raises(ValueError, match=r"A summary needs sources|contiguous"):
            add(store, session, sources)
    with pytest.raises(ValueError, match="needs a text"):
        add(store, session, branch[:2], text=" \n")
    assert store.call(store.summaries.list, session) == ()


def test_deleted_and_foreign_messages_cannot_be_sources(store: Store) -> None:
    session, elsewhere = store.session(), store.session()
    branch = ids(store.talk(session, 3))
    foreign = store.say(elsewhere, "hello").id
    store.forget(branch[2])
    for sources, missing in (
        (branch[:4], branch[2]),
        ([branch[0], "0" * 32], "0" * 32),
        ([foreign], foreign),
    ):
        with pytest.raises(MessageNotFound) as caught:
            add(store, session, sources)
        assert caught.value.message_id == missing
    assert store.rows("SELECT count(*) FROM summaries") == [(0,)]
    assert store.rows("SELECT count(*) FROM summary_sources") == [(0,)]


def test_silent_messages_may_lie_between_sources(store: Store) -> None:
    session = store.session()
    first = store.say(session, "one")
    store.say(session, "rules", "system")
    store.say(session, " \n\x07", "assistant")
    forgotten = store.say(session, "secret")
    last = store.say(session, "two")
    with pytest.raises(ValueError, match="contiguous"):
        add(store, session, [first.id, last.id])
    store.forget(forgotten.id)
    made = add(store, session, [first.id, last.id])
    branch = store.branch(session)
    assert len(branch) == 5
    assert shown(store, branch) == [made.id]
    assert shown(store, branch[:4]) == []


def test_a_reply_that_was_empty_at_first_hides_the_summary_around_it(store: Store) -> None:
    session = store.session()
    first = store.say(session, "one")
    reply = store.call(store.transcript.begin_reply, session, first.id, None)
    last = store.say(session, "two")
    made = add(store, session, [first.id, last.id])
    branch = store.branch(session)
    assert shown(store, branch) == [made.id]
    store.call(store.transcript.finish_reply, reply.id, "late words", "complete", None, None, None)
    assert shown(store, branch) == []


def test_a_rolled_up_summary_replaces_those_it_sums_up(store: Store) -> None:
    session = store.session()
    branch = ids(store.talk(session, 5))
    parts = [add(store, session, branch[start : start + 2]) for start in range(0, 8, 2)]
    roll = add(store, session, branch[:6], level=1)
    assert shown(store, branch) == [roll.id, parts[3].id]
    assert shown(store, branch[:6]) == [roll.id]
    assert shown(store, branch[:5]) == [parts[0].id, parts[1].id]
    assert shown(store, branch[2:]) == [part.id for part in parts[1:]]
    everything = store.call(store.summaries.on_branch, branch)
    assert [item.id for item in everything] == [*(part.id for part in parts), roll.id]
    assert [item.id for item in cover(everything, branch[:4])] == [parts[0].id, parts[1].id]


def test_a_fork_has_the_summaries_of_its_shared_past(store: Store) -> None:
    session = store.session()
    old = ids(store.talk(session, 3))
    parts = [add(store, session, old[start : start + 2]) for start in (0, 2, 4)]
    roll = add(store, session, old, level=1)
    fork = store.say(session, "an edit", parent_id=old[3])
    new = store.branch(session)
    assert new == [*old[:4], fork.id]
    assert shown(store, new) == [parts[0].id, parts[1].id]
    assert shown(store, old) == [roll.id]
    own = add(store, session, [fork.id])
    assert shown(store, new) == [parts[0].id, parts[1].id, own.id]
    assert shown(store, old) == [roll.id]


def test_of_overlapping_summaries_the_longer_then_the_newer_is_shown(store: Store) -> None:
    session = store.session()
    branch = ids(store.talk(session, 3))
    add(store, session, branch[1:3])
    long = add(store, session, branch[2:5])
    assert shown(store, branch) == [long.id]
    newer = add(store, session, branch[0:3])
    assert shown(store, branch) == [newer.id]


def test_removing_what_was_made_from_a_message(store: Store) -> None:
    session, elsewhere = store.session(), store.session()
    branch, other = ids(store.talk(session, 4)), ids(store.talk(elsewhere, 1))
    parts = [add(store, session, branch[start : start + 4]) for start in (0, 4)]
    add(store, session, branch, level=1)
    untouched = add(store, elsewhere, other)
    gaps = store.call(store.summaries.remove_made_from, branch[1])
    assert gaps == (Gap(session, (branch[0], branch[2], branch[3])),)
    assert store.call(store.summaries.list, session) == (parts[1],)
    assert store.call(store.summaries.list, elsewhere) == (untouched,)
    assert store.call(store.summaries.remove_made_from, branch[1]) == ()
    alone = add(store, session, branch[:1])
    assert store.call(store.summaries.remove_made_from, branch[0]) == ()
    assert alone not in store.call(store.summaries.list, session)
    assert store.rows("SELECT DISTINCT summary_id FROM summary_sources ORDER BY 1") == [
        (parts[1].id,),
        (untouched.id,),
    ]


def test_a_summary_of_a_forgotten_message_is_hidden_immediately(store: Store) -> None:
    session = store.session()
    branch = ids(store.talk(session, 3))
    add(store, session, branch[:4])
    rest = add(store, session, branch[4:])
    store.forget(branch[2])
    assert shown(store, branch) == [rest.id]
    assert store.call(store.summaries.list, session) == (rest,)
    assert store.call(store.summaries.forgotten, session) == {branch[2]}


def test_removed_words_are_in_no_file(tmp_path: Path) -> None:
    with open_store(tmp_path / "data" / "summaries.db") as store:
        session, other = store.session(), store.session()
        branch = ids(store.talk(session, 40))
        for start in range(0, 80, 2):
            add(store, session, branch[start : start + 2], text=f"secret-words {start} " * 20)
            store.call(store.summaries.remove_made_from, branch[start])
        spared = ids(store.talk(other, 1))
        add(store, other, spared, text="stays-here")
        store.call(store.database.checkpoint)
        stored = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    assert b"stays-here" in stored
    assert b"secret-words" not in stored


def test_summaries_are_deleted_with_their_session(store: Store) -> None:
    session, other = store.session(), store.session()
    add(store, session, ids(store.talk(session, 2)))
    stays = add(store, other, ids(store.talk(other, 2)))
    store.call(store.sessions.delete, session)
    assert store.rows("SELECT id FROM summaries") == [(stays.id,)]


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
    """A tree in the database, and an independent model of it."""

    def __init__(self, store: Store, tree: Tree) -> None:
        self.store = store
        self.session = store.session()
        self.messages: list[Message] = []
        self.parents = tree.parents
        for parent, (role, content) in zip(tree.parents, tree.contents, strict=True):
            above = self.messages[parent].id if parent >= 0 else None
            self.messages.append(store.say(self.session, content, role, above))  # type: ignore[arg-type]
        self.number = {message.id: place for place, message in enumerate(self.messages)}
        self.silent = {
            place for place, item in enumerate(self.messages) if not says_something(item.role, item.content)
        }
        self.made: list[Summary] = []
        for tip, start, length, level in tree.spans:
            path = [place for place in self.path(tip) if place not in self.silent]
            sources = [self.messages[place].id for place in path[start : start + length]]
            if sources:
                self.made.append(add(store, self.session, sources, level))
        for place in tree.forgotten:
            store.forget(self.messages[place].id)

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
def test_every_branch_of_every_tree(store: Store, tree: Tree) -> None:
    grown = store.call(Grown, store, tree)
    for tip in range(len(tree.parents)):
        path = grown.path(tip)
        branch = [grown.messages[place].id for place in path]
        for part in (path, path[: len(path) // 2], path[len(path) // 3 :]):
            message_ids = [grown.messages[place].id for place in part]
            chosen = store.call(store.summaries.for_branch, message_ids)
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
def test_nothing_is_left_of_a_message_in_any_tree(store: Store, tree: Tree, data: st.DataObject) -> None:
    grown = store.call(Grown, store, tree)
    victim = data.draw(st.integers(0, len(tree.parents) - 1))
    message_id = grown.messages[victim].id
    before = {item.id: item for item in grown.made}
    gaps = store.call(store.summaries.remove_made_from, message_id)
    rows = store.rows(f"SELECT id FROM summaries WHERE session_id = '{grown.session}'")
    left = {row[0] for row in rows}
    assert left == {number for number, item in before.items() if message_id not in item.sources}
    removed = [item for number, item in before.items() if number not in left and item.level == 0]
    expected = {tuple(x for x in item.sources if x != message_id) for item in removed} - {()}
    assert {gap.sources for gap in gaps} == expected
    assert all(gap.session_id == grown.session for gap in gaps)
