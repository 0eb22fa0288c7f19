"""The radix tree: what it says is what a plain table of token lists would say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kv.radix import RadixTree, common_prefix


@pytest.mark.parametrize(
    ("left", "right", "offset", "length"),
    [
        ([], [1], 0, 0),
        ([1, 2], [1, 2], 0, 2),
        ([1, 2], [1, 3], 0, 1),
        ([1, 2, 3], [1, 2], 0, 2),
        ([2], [1], 0, 0),
        ([2, 3], [1, 2, 3], 1, 2),
        ([2, 3], [1], 1, 0),
        ([*range(300)], [*range(200), 0], 0, 200),
        ([*range(128)], [*range(128)], 0, 128),
        ([*range(64), 1], [*range(64), 2], 0, 64),
    ],
)
def test_common_prefix(left: list[int], right: list[int], offset: int, length: int) -> None:
    assert common_prefix(left, right, offset) == length


def test_an_edge_is_split_where_two_prompts_part() -> None:
    tree = RadixTree()
    assert tree.extend(0, [1, 2, 3, 4]) == (0, None)
    assert tree.extend(1, [1, 2, 9]) == (2, 0)
    assert tree.size == 5
    assert tree.path(0) == (1, 2, 3, 4)
    assert tree.path(1) == (1, 2, 9)
    assert tree.match([1, 2, 3, 9]) == (3, 0)
    assert tree.match([1, 2, 9, 9]) == (3, 1)
    assert tree.match([1, 2, 3], slot=1) == (2, 1)
    assert tree.match([5]) == (0, None)


def test_what_nobody_holds_is_gone() -> None:
    tree = RadixTree()
    tree.extend(0, [1, 2, 3, 4])
    tree.extend(1, [1, 2, 9])
    tree.cut(0, 0)
    assert tree.size == 3
    assert tree.match([1, 2, 3, 4]) == (2, 1)
    tree.cut(1, 1)
    assert (tree.size, tree.path(1)) == (1, (1,))
    tree.cut(1, 0)
    assert tree.size == 0


def test_only_what_the_others_do_not_hold_would_be_freed() -> None:
    tree = RadixTree()
    tree.extend(0, [1, 2, 3, 4])
    tree.extend(1, [1, 2, 9])
    assert tree.free_without({0}, []) == 1
    assert tree.free_without({1}, []) == 2
    assert tree.free_without(set(), []) == 5
    assert tree.free_without(set(), [1, 2, 3]) == 2


def test_a_pinned_head_counts_only_for_its_last_holder() -> None:
    tree = RadixTree()
    tree.extend(0, [1, 2, 3, 4])
    tree.extend(1, [1, 2, 3, 9])
    tree.pin([1, 2])
    assert tree.pinned_length(0) == 0
    tree.cut(1, 0)
    assert tree.pinned_length(0) == 2
    tree.pin([1, 2], pinned=False)
    assert tree.pinned_length(0) == 0


_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["extend", "cut", "match", "pin"]),
        st.integers(0, 4),
        st.lists(st.integers(0, 2), max_size=12),
        st.integers(0, 12),
    ),
    max_size=60,
)


@given(_ACTIONS)
def test_it_agrees_with_a_plain_table(actions: list[tuple[str, int, list[int], int]]) -> None:
    tree, table = RadixTree(), {slot: list[int]() for slot in range(5)}
    for action, slot, tokens, keep in actions:
        if action == "extend":
            others = [path for other, path in table.items() if other != slot]
            grown = table[slot] + tokens
            longest = max((common_prefix(grown, path) for path in others), default=0)
            assert tree.extend(slot, tokens)[0] == max(0, min(longest, len(grown)) - len(table[slot]))
            table[slot] = grown
        elif action == "cut":
            tree.cut(slot, keep)
            table[slot] = table[slot][:keep]
        elif action == "pin":
            tree.pin(tokens)
        length, holder = tree.match(tokens)
        assert length == max(common_prefix(path, tokens) for path in table.values())
        assert holder is None or table[holder][:length] == tokens[:length]
        assert tree.match(tokens, slot)[0] == common_prefix(table[slot], tokens)
        assert tree.size == len({tuple(path[: n + 1]) for path in table.values() for n in range(len(path))})
        for number, path in table.items():
            assert tree.path(number) == tuple(path)
            assert tree.length(number) == len(path)
        keepers = {number for number in table if number % 2}
        held = {tuple(path[: n + 1]) for path in table.values() for n in range(len(path))}
        kept = {tuple(table[k][: n + 1]) for k in keepers for n in range(len(table[k]))}
        wanted = {tuple(tokens[: n + 1]) for n in range(length)}
        assert tree.free_without(keepers, tokens) == len(held - kept - wanted)
