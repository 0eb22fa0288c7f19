"""What a step costs on this machine, learned from the steps themselves."""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["CHUNK", "StepCosts"]

CHUNK = 8  # prefill chunks are multiples of this: steps of equal shape share a compute graph
_WARM_UP = 3  # the first steps also load kernels and pages: the cheapest of them counts
_NOISE = 0.02  # variance of one step's time, as a share of its square
_DRIFT = 0.0026  # variance that a cost gains per step; with _NOISE, the gain settles at 0.3
_JUMP = 2.0  # largest factor by which one measurement changes an estimate, up or down
_SWAP_S_PER_BYTE = 1e-9  # until the first swap is measured
_WORTH_PARKING = 32  # tokens; fewer are not worth a separate state


class StepCosts:
    """A model of step times in seconds: a cost for the decodes plus a cost for each further token.

    A step is expected to take `decode_s(decodes) + prefill * token_s + drafts * draft_s`. When it takes
    longer or shorter, each term is corrected in proportion to its share and its variance: a Kalman filter
    with a diagonal covariance. A step of one kind teaches the cost of that kind. A mixed step moves the sum
    of the terms towards the measurement, whichever of them is wrong, so that steps planned by
    `prefill_budget` settle at the target. One hiccup moves an estimate by about a third; it follows a
    lasting change within some ten steps.

    Where attention works in tiles, a step of fewer tokens computes them row by row, and what a token costs
    there is learned apart. How much more that is depends on the CPU, on what llama.cpp was compiled for, and
    on the model's heads.

    Args:
        target_s: how long a step with decodes should take.
        first_budget: prompt tokens in such a step before anything is measured.
        token_bytes: size of a KV cell.
        tile: tokens of a step from which attention works in tiles; 0: at any number.
    """

    def __init__(
        self, *, target_s: float, first_budget: int = 64, token_bytes: int = 1, tile: int = 0
    ) -> None:
        self._target_s = target_s
        self._token_bytes = token_bytes
        self._tile = tile
        self._row: _Estimate | None = None
        self._decodes: dict[int, _Estimate] = {}
        self._counts: list[int] = []  # the keys of _decodes, ascending
        self._token = _Estimate(target_s / 2 / max(first_budget, 1))
        self._draft: _Estimate | None = None
        self._byte = _Estimate(_SWAP_S_PER_BYTE)

    def aim(self, target_s: float) -> None:
        """Plan steps with decodes for another time from now on."""
        self._target_s = target_s

    @property
    def token_s(self) -> float:
        """The cost of one more prompt token in a step of a tile or more; until one was measured, `row_s`."""
        return self._token.value if self._token.seen or self._row is None else self._row.value

    @property
    def row_s(self) -> float:
        """The same in a step of less than a tile; until one was measured, `token_s`."""
        return self._token.value if self._row is None else self._row.value

    @property
    def draft_s(self) -> float:
        """The cost of one more drafted token in a step; it needs logits, unlike most prompt tokens."""
        return self.row_s if self._draft is None else self._draft.value

    def decode_s(self, decodes: int) -> float:
        """The cost of a step in which `decodes` sequences decode and nothing else happens.

        Linear between two measured counts; beyond them each sequence counts as one prompt token.
        """
        known = self._decodes.get(decodes)
        if known is not None:
            return known.value
        if not self._counts:
            return self._target_s / 2
        place = bisect_left(self._counts, decodes)
        if place == 0:
            count = self._counts[0]
            above = self._decodes[count].value
            return max(above * decodes / count, above - (count - decodes) * self.token_s)
        low = self._counts[place - 1]
        below = self._decodes[low].value
        if place == len(self._counts):
            return below + (decodes - low) * self.token_s
        high = self._counts[place]
        return below + (self._decodes[high].value - below) * (decodes - low) / (high - low)

    def prefill_budget(
        self,
        decodes: int,
        most: int,
        stretch: float = 1.0,
        least: int = CHUNK,
        *,
        ready: int | None = None,
    ) -> int:
        """Prompt tokens that a step may compute and stay near the target.

        A multiple of 8 and at least `least`, unless `most` is less; all of `most` without decodes.

        Args:
            decodes: sequences that decode in the step.
            most: tokens the step has room for.
            stretch: how many times the target the step may take.
            least: whatever the target says.
            ready: prompt tokens that there are to compute; with fewer than a tile they cost as rows do.
        """
        if not decodes:
            return most
        left = self._target_s * stretch - self.decode_s(decodes)
        fitting = left / self.token_s
        if min(fitting, most if ready is None else ready) + decodes < self._tile:
            fitting = min(left / self.row_s, self._tile)
        nearest = max(least, round(fitting / CHUNK) * CHUNK) if fitting < most else most
        return nearest if nearest <= most else most // CHUNK * CHUNK or most

    def tile_pays(self, tokens: int) -> bool:
        """Whether a whole tile takes less time than `tokens` row by row."""
        return self._tile * self.token_s < tokens * self.row_s

    def record_step(self, *, decodes: int, prefill: int, drafts: int, seconds: float) -> None:
        """Learn from a successful step: sequences that decoded, prompt tokens, drafted tokens."""
        if seconds <= 0 or decodes + prefill <= 0:
            return
        token = self._token_of(decodes + prefill + drafts) if prefill >= CHUNK else None
        if prefill + drafts == 0 and self._entry(decodes).seen < _WARM_UP:
            self._entry(decodes).start(seconds)
        elif token is not None and token.seen < _WARM_UP:  # smaller chunks measure mostly the fixed cost
            rest = max(seconds - self._fixed_s(decodes), seconds / 4)
            token.start(rest / (prefill + drafts))
        else:
            self._correct(decodes, prefill, drafts, seconds)

    def record_swap(self, size_bytes: int, seconds: float) -> None:
        """Learn from KV states of `size_bytes` in all that were saved or restored."""
        if size_bytes > 0 and seconds > 0:
            if self._byte.seen < _WARM_UP:
                self._byte.start(seconds / size_bytes)
            else:
                self._byte.correct(seconds / size_bytes / self._byte.value)

    def swap_s(self, size_bytes: int) -> float:
        """The cost of either saving or restoring a KV state of `size_bytes`."""
        return size_bytes * self._byte.value

    def cheaper_to_swap(self, size_bytes: int, tokens: int) -> bool:
        """Whether saving a KV state and restoring it costs less than computing its tokens again."""
        return 2 * self.swap_s(size_bytes) < tokens * self.token_s

    def worth_parking(self, tokens: int) -> bool:
        """Whether saving `tokens` tokens and restoring them beats computing them again."""
        return tokens >= _WORTH_PARKING and self.cheaper_to_swap(tokens * self._token_bytes, tokens)

    def _token_of(self, tokens: int) -> _Estimate:
        """The cost of one prompt token in a step that computes `tokens` tokens in all."""
        if tokens >= self._tile:
            return self._token
        if self._row is None:
            self._row = _Estimate(self.token_s)
        return self._row

    def _fixed_s(self, decodes: int) -> float:
        """What a step costs without its other tokens, if known: any step must read all weights."""
        if not self._decodes:
            return 0.0
        return self.decode_s(decodes) if decodes else max(self.decode_s(1) - self.token_s, 0.0)

    def _entry(self, decodes: int) -> _Estimate:
        entry = self._decodes.get(decodes)
        if entry is None:
            entry = self._decodes[decodes] = _Estimate(self.decode_s(decodes))
            self._counts.insert(bisect_left(self._counts, decodes), decodes)
        return entry

    def _correct(self, decodes: int, prefill: int, drafts: int, seconds: float) -> None:
        if drafts and self._draft is None:
            self._draft = _Estimate(self.row_s)
        fixed = self._fixed_s(decodes)
        token = self._token_of(decodes + prefill + drafts)
        token_s = self.token_s if token is self._token else token.value
        terms = [(self._decodes.get(decodes), fixed)]
        terms += [(token, prefill * token_s), (self._draft, drafts * self.draft_s)]
        expected = sum(part for _, part in terms)
        known = [(term, part / expected) for term, part in terms if term is not None and part]
        variance = _NOISE + sum(term.doubt * share**2 for term, share in known)
        for term, share in known:
            term.correct(seconds / expected, share, variance)


class _Estimate:
    """A cost, and the variance of its error as a share of its square."""

    __slots__ = ("doubt", "seen", "value")

    def __init__(self, first: float) -> None:
        self.value = first
        self.doubt = 1.0
        self.seen = 0

    def start(self, sample: float) -> None:
        """Apply one of the first measurements."""
        self.value = min(sample, self.value) if self.seen else sample
        self.doubt = _NOISE
        self.seen += 1

    def correct(self, ratio: float, share: float = 1.0, variance: float | None = None) -> None:
        """Correct by a measurement.

        Args:
            ratio: measured over expected, of a sum that this cost is part of.
            share: this cost's part of the expected sum.
            variance: of the sum; None when this cost is all of it.
        """
        gain = self.doubt * share / (variance or _NOISE + self.doubt)
        error = min(max(ratio, 1 / _JUMP), _JUMP) - 1
        self.value *= min(max(1 + gain * error, 1 / _JUMP), _JUMP)
        self.doubt = min(self.doubt * (1 - gain * share) + _DRIFT, 1.0)
