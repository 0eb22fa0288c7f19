"""Passages of older messages, quoted before the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from memory.ports import TokenCounter
from memory.strategies.quoting import quoted
from memory.types import Dropped, Recall

__all__ = ["MEMORIES_HEADING", "NO_MEMORIES", "Memories", "Shelf"]

MEMORIES_HEADING = "From earlier conversations (for reference):"


@dataclass(frozen=True, slots=True)
class Memories:
    """The quotation and its account.

    Args:
        text: the heading, and below each date what was said on that day; no blank line in it.
        tokens: of `text`.
        used: what is quoted, in the text's order; passages of one message are one recall.
        dropped: the other recalls, best first.
    """

    text: str = ""
    tokens: int = 0
    used: tuple[Recall, ...] = ()
    dropped: tuple[Dropped, ...] = ()


NO_MEMORIES = Memories()


@dataclass(frozen=True, slots=True)
class _Piece:
    rank: int
    recall: Recall
    text: str
    tokens: int

    @property
    def day(self) -> str:
        return quoted(self.recall.at[:10])


class Shelf:
    """The recalls that may be quoted, best first.

    Args:
        order: places of the messages of the branch, by id: they order what has the same time.
    """

    def __init__(self, recalls: Sequence[Recall], counter: TokenCounter, order: Mapping[str, int]) -> None:
        self._recalls = recalls
        self._counter = counter
        self._order = order
        self._pieces: dict[tuple[str, int, str], _Piece] = {}
        for rank, recall in enumerate(recalls):
            text = quoted(recall.text)
            if text:
                tokens = counter.count_text(f"{recall.role}: {text}\n")
                piece = _Piece(rank, recall, text, tokens)
                self._pieces.setdefault((recall.message_id, recall.part, text), piece)

    def pick(self, window: Set[str], limit: int) -> Memories:
        """Quote the best recalls that fit into `limit` tokens and are not in the window."""
        room = limit - self._counter.count_text(MEMORIES_HEADING + "\n")
        chosen: list[_Piece] = []
        days = {""}
        for piece in self._pieces.values():
            if piece.recall.message_id in window:
                continue
            tokens = piece.tokens
            if piece.day not in days:
                tokens += self._counter.count_text(f"[{piece.day}]\n")
            if tokens <= room:
                room -= tokens
                days.add(piece.day)
                chosen.append(piece)
        return self._settle(chosen, window, limit)

    def _settle(self, chosen: list[_Piece], window: Set[str], limit: int) -> Memories:
        """Tokens do not add up exactly, because some reach over a line's end: give up the weakest."""
        while chosen:
            text, used = self._quote(chosen)
            tokens = self._counter.count_text(text)
            if tokens <= limit:
                return Memories(text, tokens, used, self._account(chosen, window))
            chosen.pop()
        return Memories(dropped=self._account([], window))

    def _quote(self, chosen: Sequence[_Piece]) -> tuple[str, tuple[Recall, ...]]:
        messages: dict[str, list[_Piece]] = {}
        for piece in chosen:
            messages.setdefault(piece.recall.message_id, []).append(piece)
        lines, used, day = [MEMORIES_HEADING], [], ""
        for pieces in sorted(messages.values(), key=self._when):
            if pieces[0].day != day:
                day = pieces[0].day
                lines.append(f"[{day}]")
            text = _joined(sorted(pieces, key=lambda piece: piece.recall.part))
            lines.append(f"{pieces[0].recall.role}: {text}")
            used.append(self._merged(pieces, text))
        return "\n".join(lines), tuple(used)

    def _when(self, pieces: Sequence[_Piece]) -> tuple[str, int]:
        recall = pieces[0].recall
        return recall.at, self._order.get(recall.message_id, -1)

    def _merged(self, pieces: Sequence[_Piece], text: str) -> Recall:
        best = pieces[0].recall
        if len(pieces) == 1:
            return best
        return replace(best, text=text, tokens=self._counter.count_text(text))

    def _account(self, chosen: Sequence[_Piece], window: Set[str]) -> tuple[Dropped, ...]:
        ranks = {piece.rank for piece in chosen}
        return tuple(
            Dropped(item.message_id, item.role, item.tokens, self._reason(rank, item, window), item.score)
            for rank, item in enumerate(self._recalls)
            if rank not in ranks
        )

    def _reason(self, rank: int, recall: Recall, window: Set[str]) -> str:
        if recall.message_id in window:
            return "in the window already"
        piece = self._pieces.get((recall.message_id, recall.part, quoted(recall.text)))
        if piece is None:
            return "nothing to quote"
        return "no room" if piece.rank == rank else "found twice"


def _joined(pieces: Sequence[_Piece]) -> str:
    text = pieces[0].text
    for before, piece in pairwise(pieces):
        text += " " if piece.recall.part == before.recall.part + 1 else " … "
        text += piece.text
    return text
