"""A radix tree over token prefixes that records which slots hold each prefix.

As in SGLang's RadixAttention (Zheng et al. 2024, arXiv:2312.07104): an edge carries a run of tokens, splits
where two prompts diverge, and knows every holder whose sequence runs through it. Here the holders are slots,
llama.cpp's sequences, because a KV cell lives until no sequence holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet

__all__ = ["RadixTree", "common_prefix"]

_BLOCK = 64


class _Node:
    __slots__ = ("children", "parent", "pinned", "slots", "tokens")

    def __init__(self, parent: _Node | None, tokens: tuple[int, ...], slots: set[int]) -> None:
        self.parent = parent
        self.tokens = tokens
        self.slots = slots  # a superset of every child's
        self.children: dict[int, _Node] = {}
        self.pinned = False  # keep the path down to here


class RadixTree:
    """Paths of tokens, each held by one or more slots."""

    def __init__(self) -> None:
        self._root = _Node(None, (), set())
        self._ends: dict[int, _Node] = {}
        self._lengths: dict[int, int] = {}
        self.size = 0  # tokens on all edges together

    def length(self, slot: int) -> int:
        """Number of tokens on a slot's path."""
        return self._lengths.get(slot, 0)

    def path(self, slot: int) -> tuple[int, ...]:
        """The tokens on a slot's path."""
        return tuple(token for node in reversed([*self._upwards(slot)]) for token in node.tokens)

    def match(self, tokens: Sequence[int], slot: int | None = None) -> tuple[int, int | None]:
        """Length of the longest held prefix of `tokens` and a slot that holds it; with `slot`, only that
        one counts."""
        node, depth, holder = self._root, 0, None
        while depth < len(tokens) and (child := node.children.get(tokens[depth])) is not None:
            if slot is not None and slot not in child.slots:
                break
            common = common_prefix(child.tokens, tokens, depth)
            depth += common
            holder = min(child.slots) if slot is None else slot
            if common < len(child.tokens):
                break
            node = child
        return depth, holder

    def match_whole(self, tokens: Sequence[int], holds: Callable[[int], bool]) -> tuple[int, int | None]:
        """Length of the longest whole path that is a prefix of `tokens`, and its slot.

        Args:
            holds: whether a slot counts.
        """
        node, depth = self._root, 0
        best: tuple[int, int | None] = (0, None)
        while depth < len(tokens) and (child := node.children.get(tokens[depth])) is not None:
            if common_prefix(child.tokens, tokens, depth) < len(child.tokens):
                break
            node, depth = child, depth + len(child.tokens)
            ending = [slot for slot in node.slots if self._ends[slot] is node and holds(slot)]
            if ending:
                best = depth, min(ending)
        return best

    def extend(self, slot: int, tokens: Sequence[int]) -> tuple[int, int | None]:
        """Lengthen a slot's path.

        Returns:
            How many of these tokens other slots already held there, and one slot that holds all of them.
        """
        node, other, at = self._ends.get(slot, self._root), None, 0
        while at < len(tokens) and (child := node.children.get(tokens[at])) is not None:
            common = common_prefix(child.tokens, tokens, at)
            node = child if common == len(child.tokens) else self._split(child, common)
            other = min(node.slots)
            node.slots.add(slot)
            at += common
        if at < len(tokens):
            node = self._grow(node, slot, tuple(tokens[at:]))
        self._ends[slot] = node
        self._lengths[slot] = self.length(slot) + len(tokens)
        return at, other

    def cut(self, slot: int, keep: int) -> None:
        """Shorten a slot's path to its first `keep` tokens."""
        if keep >= (depth := self.length(slot)):
            return
        node = self._ends[slot]
        while depth > keep:
            above = depth - len(node.tokens)
            if above < keep:
                self._split(node, keep - above)  # `node` is now the lower part
            parent = node.parent
            assert parent is not None
            depth = max(above, keep)
            self._leave(node, slot)
            node = parent
        self._ends[slot], self._lengths[slot] = node, keep
        if not keep:
            del self._ends[slot], self._lengths[slot]

    def free_without(self, keepers: AbstractSet[int], wanted: Sequence[int]) -> int:
        """Tokens that would have no holder if only the keepers stayed, not counting a prefix of `wanted`."""
        nodes = [node for node in self._nodes() if node.slots.isdisjoint(keepers)]
        total = sum(len(node.tokens) for node in nodes)
        node, depth = self._root, 0
        while depth < len(wanted) and (child := node.children.get(wanted[depth])) is not None:
            common = common_prefix(child.tokens, wanted, depth)
            depth += common
            total -= common if child.slots.isdisjoint(keepers) else 0
            node = child
            if common < len(child.tokens):
                break
        return total

    def pin(self, tokens: Sequence[int], *, pinned: bool = True) -> None:
        """Mark a held path as one to keep, or unmark it."""
        node, depth = self._root, 0
        while depth < len(tokens):
            child = node.children.get(tokens[depth])
            common = common_prefix(child.tokens, tokens, depth) if child is not None else 0
            if child is None or (common < len(child.tokens) and (not pinned or depth + common < len(tokens))):
                return
            node = child if common == len(child.tokens) else self._split(child, common)
            depth += common
        node.pinned = pinned and node is not self._root

    def pinned_length(self, slot: int) -> int:
        """Number of tokens at the head of a slot's path that are pinned and that no other slot holds."""
        depth = self.length(slot)
        for node in self._upwards(slot):
            if node.pinned:
                return depth if len(node.slots) == 1 else 0
            depth -= len(node.tokens)
        return 0

    def _grow(self, node: _Node, slot: int, tokens: tuple[int, ...]) -> _Node:
        self.size += len(tokens)
        if node.parent is not None and len(node.slots) == 1 and not node.children and not node.pinned:
            node.tokens += tokens
            return node
        child = node.children[tokens[0]] = _Node(node, tokens, {slot})
        return child

    def _split(self, node: _Node, at: int) -> _Node:
        """Cut an edge in two; `node` remains as the lower part, the upper part is returned."""
        assert node.parent is not None
        upper = _Node(node.parent, node.tokens[:at], set(node.slots))
        node.parent.children[upper.tokens[0]] = upper
        node.tokens, node.parent = node.tokens[at:], upper
        upper.children[node.tokens[0]] = node
        return upper

    def _leave(self, node: _Node, slot: int) -> None:
        node.slots.discard(slot)
        if not node.slots:
            assert node.parent is not None
            del node.parent.children[node.tokens[0]]
            self.size -= len(node.tokens)

    def _upwards(self, slot: int) -> Iterator[_Node]:
        node = self._ends.get(slot, self._root)
        while node.parent is not None:
            yield node
            node = node.parent

    def _nodes(self) -> Iterator[_Node]:
        stack = [*self._root.children.values()]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())


def common_prefix(left: Sequence[int], right: Sequence[int], offset: int = 0) -> int:
    """Length of the longest common prefix of `left` and `right[offset:]`."""
    limit = min(len(left), len(right) - offset)
    at = 0
    # Slices compare in C; only the block in which the two diverge is compared token by token.
    while at < limit and list(left[at : at + _BLOCK]) == list(right[offset + at : offset + at + _BLOCK]):
        at += _BLOCK
    while at < limit and left[at] == right[offset + at]:
        at += 1
    return min(at, limit)
