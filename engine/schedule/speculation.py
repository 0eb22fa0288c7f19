"""Guesses at the next tokens from what the sequence itself says, to be checked in one step."""

from __future__ import annotations

from array import array
from typing import Literal

from engine.schedule.costs import StepCosts
from engine.schedule.sequence import Sequence

__all__ = ["NgramIndex", "Speculator"]

_SHORTEST, _LONGEST = 2, 4  # tokens of the suffix that is looked up
_CANDIDATES = 32  # earlier places with the same last two tokens that are compared
_INDEXED = 16_384  # tokens of a prompt, the last ones
_PER_CALL = 512  # tokens entered at a time, some 0.1 ms: a long prompt is spread over several steps

_HOPE = 0.6  # acceptance before anything is known
_LEARN = 0.25  # weight of a new guess
_SURE = 0.98  # no guess is taken for surer
_PROBE = 2  # guesses made to find out
_PAUSE, _LONGEST_PAUSE = 8, 512  # tokens until the next probe


class NgramIndex:
    """Finds where the last tokens of a sequence occurred before: prompt lookup (Saxena 2023).

    Args:
        tokens: the sequence; it is not copied, and until the end tokens may only be appended to it.
    """

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens
        self._first = self._next = max(0, len(tokens) - _INDEXED)
        self._latest: dict[int, int] = {}  # two tokens -> where the second stood last
        self._before = array("i")  # for each indexed place, the one before it with the same two tokens, or -1

    def extend(self, most: int = _PER_CALL) -> bool:
        """Enter new tokens, at most so many; False when some are left. Constant time per token."""
        tokens, latest, before = self._tokens, self._latest, self._before
        end = min(len(tokens), self._next + most)
        last = tokens[self._next - 1] if self._next else -1
        for place in range(self._next, end):
            token = tokens[place]
            pair = last << 32 | token
            before.append(latest.get(pair, -1))
            latest[pair] = place
            last = token
        self._next = end
        return end == len(tokens)

    def propose(self, limit: int) -> tuple[list[int], int]:
        """What followed the latest earlier place with the same last 4, 3 or 2 tokens, the longest that there
        is; a place so near that its continuation runs into the end goes on in a circle.

        Returns:
            At most `limit` tokens, and how many tokens of the suffix were found; nothing and 0 if none.
        """
        if limit <= 0 or not self._before or self._before[-1] < 0:
            return [], 0
        tokens = self._tokens
        place, matched = self._find(self._before[-1])
        found = tokens[place + 1 : place + 1 + limit]
        period = len(tokens) - 1 - place
        while len(found) < limit:
            found.append(found[-period])
        return found, matched

    def _find(self, place: int) -> tuple[int, int]:
        """The best of the places that end like the sequence, from this one backwards."""
        tokens, before, first = self._tokens, self._before, self._first
        end = len(tokens) - 1
        best, matched = place, 0
        for _ in range(_CANDIDATES):
            length = _SHORTEST
            while length < _LONGEST and length <= place and tokens[place - length] == tokens[end - length]:
                length += 1
            if length > matched:
                best, matched = place, length
                if length == _LONGEST:
                    break
            if (place := before[place - first]) < 0:
                break
        return best, matched


class _Acceptance:
    """How often guesses of one kind are right, and when to try again if that is too seldom."""

    __slots__ = ("pause", "rate", "resume")

    def __init__(self) -> None:
        self.rate = _HOPE
        self.pause = _PAUSE
        self.resume = 0  # length of the sequence from which on a probe is due

    def note(self, drafted: int, accepted: int) -> None:
        """Enter a draft: its guesses are right one after the other until one is wrong."""
        for _ in range(accepted):
            self.rate += _LEARN * (1 - self.rate)
        if accepted < drafted:
            self.rate -= _LEARN * self.rate
        else:
            self.pause, self.resume = _PAUSE, 0

    def count(self, needed: float, limit: int) -> int:
        """How many guesses pay: those reached with a higher probability than `needed`."""
        reached = 1.0
        for count in range(limit):
            reached *= self.rate
            if reached <= needed:
                return count
        return limit

    def probe(self, length: int) -> bool:
        """Whether to guess although it does not pay; the next time is twice as far away."""
        if length < self.resume:
            return False
        self.resume = length + self.pause
        self.pause = min(2 * self.pause, _LONGEST_PAUSE)
        return True


class _Session:
    """What is known of one request: its index, and the acceptance by how long a suffix was found."""

    __slots__ = ("acceptance", "index", "last")

    def __init__(self, tokens: list[int]) -> None:
        self.index = NgramIndex(tokens)
        self.acceptance = {length: _Acceptance() for length in range(_SHORTEST, _LONGEST + 1)}
        self.last = self.acceptance[_SHORTEST]


class Speculator:
    """Decides how many tokens to guess, for each request by itself.

    A guess is worth it when the step that it may save, `decode_s / decodes` per sequence, times the
    probability that it is reached and right, exceeds what it adds to this step, `draft_s`. The probability
    is learned from the request's own guesses.

    Args:
        mode: "auto" guesses where it pays, "on" whenever there is something to guess, "off" never.
        most: the most tokens at a time.
        costs: what steps cost.
    """

    def __init__(self, mode: Literal["auto", "on", "off"], *, most: int, costs: StepCosts) -> None:
        self._mode = mode
        self._most = most
        self._costs = costs
        self._sessions: dict[int, _Session] = {}

    def drafts(self, sequence: Sequence, *, room: int, decodes: int) -> tuple[int, ...]:
        """Guesses for the tokens after the last of a sequence that decodes; mostly none.

        Args:
            room: how many there may be.
            decodes: sequences that decode in this step.
        """
        limit = min(room, self._most)
        if self._mode == "off" or limit <= 0:
            return ()
        needed = self._needed(decodes) if self._mode == "auto" else 0.0
        if needed >= _SURE:
            return ()
        session = self._sessions.get(sequence.request_id)
        if session is None:
            session = self._sessions[sequence.request_id] = _Session(sequence.tokens)
        if not session.index.extend():
            return ()
        tokens, matched = session.index.propose(limit)
        if not matched:
            return ()
        session.last = acceptance = session.acceptance[matched]
        if self._mode == "auto":
            count = acceptance.count(needed, limit)
            if not count and acceptance.probe(len(sequence.tokens)):
                count = min(_PROBE, limit)
            del tokens[count:]
        return tuple(tokens)

    def note(self, request_id: int, drafted: int, accepted: int) -> None:
        """Enter how many of the last guesses for a request were right."""
        if drafted and (session := self._sessions.get(request_id)) is not None:
            session.last.note(drafted, accepted)

    def close(self, request_id: int) -> None:
        """Forget a request."""
        self._sessions.pop(request_id, None)

    def _needed(self, decodes: int) -> float:
        """The probability from which on a guess pays."""
        return self._costs.draft_s * decodes / self._costs.decode_s(decodes)
