"""Drafts of the next tokens, looked up in the sequence itself and verified in one step."""

from __future__ import annotations

from array import array
from typing import Literal, TypeAlias

from engine.schedule.costs import StepCosts
from engine.schedule.sequence import TokenSequence

__all__ = ["NgramIndex", "Speculation", "Speculator"]

Speculation: TypeAlias = Literal["auto", "on", "off"]

_SHORTEST, _LONGEST = 2, 4  # tokens of the suffix that is looked up
_MAX_PLACES = 32  # earlier places with the same last two tokens to compare
_INDEXED = 16_384  # only the last tokens of a prompt are indexed
_PER_CALL = 512  # tokens indexed per call, some 0.1 ms: a long prompt is spread over several steps

_FIRST_RATE = 0.6  # acceptance before anything is known
_LEARN = 0.25  # weight of a new observation
_HIGHEST_RATE = 0.98  # upper bound of the estimate
_PROBE = 2  # drafts per probe
_PAUSE, _LONGEST_PAUSE = 8, 512  # tokens until the next probe


class NgramIndex:
    """Finds where the last tokens of a sequence occurred before: prompt lookup (Saxena 2023).

    Args:
        tokens: the sequence; it is not copied, and tokens may only be appended to it.
    """

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens
        self._first = self._next = max(0, len(tokens) - _INDEXED)
        self._latest: dict[int, int] = {}  # two tokens -> where the second stood last
        self._before = array("i")  # for each indexed place, the previous one with the same two tokens, or -1

    def extend(self, most: int = _PER_CALL) -> bool:
        """Index at most `most` new tokens; False when some are left. Constant time per token."""
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
        """The tokens that followed the latest earlier place with the same last 4, 3 or 2 tokens, the
        longest match first. A continuation that reaches the end of the sequence repeats from the place.

        Returns:
            At most `limit` tokens, and how many tokens of the suffix matched; none and 0 without a match.
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
        """The best match among the places with the same last two tokens, from this one backwards."""
        tokens, before, first = self._tokens, self._before, self._first
        end = len(tokens) - 1
        best, matched = place, 0
        for _ in range(_MAX_PLACES):
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
    """How often drafts of one kind are accepted, and when to try again if that is too rare."""

    __slots__ = ("pause", "rate", "resume")

    def __init__(self) -> None:
        self.rate = _FIRST_RATE
        self.pause = _PAUSE
        self.resume = 0  # length of the sequence at which the next probe is due

    def record(self, drafted: int, accepted: int) -> None:
        """Record how many drafts were accepted, in order, before the first rejected one."""
        for _ in range(accepted):
            self.rate += _LEARN * (1 - self.rate)
        if accepted < drafted:
            self.rate -= _LEARN * self.rate
        else:
            self.pause, self.resume = _PAUSE, 0

    def count(self, needed: float, limit: int) -> int:
        """How many drafts pay: those reached with a higher probability than `needed`."""
        reached = 1.0
        for count in range(limit):
            reached *= self.rate
            if reached <= needed:
                return count
        return limit

    def probe(self, length: int) -> bool:
        """Whether to draft even though it does not pay; each time the next probe is twice as far away."""
        if length < self.resume:
            return False
        self.resume = length + self.pause
        self.pause = min(2 * self.pause, _LONGEST_PAUSE)
        return True


class _RequestDrafts:
    """State of one request: its index, and the acceptance for each length of match."""

    __slots__ = ("acceptance", "index", "last")

    def __init__(self, tokens: list[int]) -> None:
        self.index = NgramIndex(tokens)
        self.acceptance = {length: _Acceptance() for length in range(_SHORTEST, _LONGEST + 1)}
        self.last = self.acceptance[_SHORTEST]


class Speculator:
    """Decides how many tokens to draft, for each request separately.

    A draft pays when the step that it may save, `decode_s / decodes` per sequence, times the probability
    that it is reached and accepted, exceeds what it adds to this step, `draft_s`. The probability is
    learned from the request's own drafts.

    Args:
        mode: "auto" drafts where it pays, "on" whenever there is a match, "off" never.
        most: limit on the tokens drafted at a time.
        costs: what steps cost.
    """

    def __init__(self, mode: Speculation, *, most: int, costs: StepCosts) -> None:
        self._mode = mode
        self._most = most
        self._costs = costs
        self._requests: dict[int, _RequestDrafts] = {}

    def change(self, mode: Speculation, *, most: int) -> None:
        """Use another mode and limit from now on."""
        self._mode, self._most = mode, most

    @property
    def active(self) -> bool:
        """Whether anything is drafted at all."""
        return self._mode != "off"

    def drafts(self, sequence: TokenSequence, *, room: int, decodes: int) -> tuple[int, ...]:
        """Drafts of the tokens after the last of a sequence that decodes; often none.

        Args:
            room: limit on their number.
            decodes: sequences that decode in this step.
        """
        limit = min(room, self._most)
        if self._mode == "off" or limit <= 0:
            return ()
        needed = self._needed(decodes) if self._mode == "auto" else 0.0
        if needed >= _HIGHEST_RATE:
            return ()
        request = self._requests.get(sequence.request_id)
        if request is None:
            request = self._requests[sequence.request_id] = _RequestDrafts(sequence.tokens)
        if not request.index.extend():
            return ()
        tokens, matched = request.index.propose(limit)
        if not matched:
            return ()
        request.last = acceptance = request.acceptance[matched]
        if self._mode == "auto":
            count = acceptance.count(needed, limit)
            if not count and acceptance.probe(len(sequence.tokens)):
                count = min(_PROBE, limit)
            del tokens[count:]
        return tuple(tokens)

    def record(self, request_id: int, drafted: int, accepted: int) -> None:
        """Record how many of a request's last drafts were accepted."""
        if drafted and (request := self._requests.get(request_id)) is not None:
            request.last.record(drafted, accepted)

    def close(self, request_id: int) -> None:
        """Drop the state of a request."""
        self._requests.pop(request_id, None)

    def _needed(self, decodes: int) -> float:
        """The probability above which a draft pays."""
        return self._costs.draft_s * decodes / self._costs.decode_s(decodes)
