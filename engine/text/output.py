"""Sampled tokens to the text of an answer: UTF-8 split across tokens, stop strings, timings."""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Callable, Iterable
from math import floor

from engine.schedule import TokenSequence
from engine.stream import TokenStream
from engine.text.reply import ReplyParser
from engine.types import FinishReason, ReplyPart, Timings, TokenLogprob

__all__ = ["Detokenizer", "RequestOutput", "percentiles"]

_NOTHING = ReplyPart("")


class RequestOutput:
    """Turns one sequence's tokens into chunks for its reader and keeps its clock.

    All times are readings of the same monotonic clock, in seconds.

    Args:
        piece: a token's bytes in the model's vocabulary.
        submitted: when the request was submitted.
        progress: whether the reader wants to know how much of the prompt is computed.
        parser: tells thinking and calls apart; None: the reader wants the reply as it is.
    """

    def __init__(
        self,
        sequence: TokenSequence,
        stream: TokenStream,
        *,
        piece: Callable[[int], bytes],
        submitted: float,
        progress: bool = False,
        parser: ReplyParser | None = None,
    ) -> None:
        self.progress = progress
        self._parser = parser
        self.sequence = sequence
        self.stream = stream
        self.submitted = submitted
        self._piece = piece
        self.spoke = False  # whether the reader was told any text
        self.gaps = array("d")  # seconds between tokens
        self._detokenizer = Detokenizer(sequence.sampling.stop)
        self._admitted: float | None = None
        self._first: float | None = None
        self._last: float | None = None

    @property
    def ttft_s(self) -> float | None:
        """Seconds from submit to the first token; None before it."""
        return None if self._first is None else self._first - self.submitted

    @property
    def tokens_per_second(self) -> float:
        """Decode rate so far; 0 before the second token."""
        if self._first is None or self._last is None or self._last <= self._first:
            return 0.0
        return len(self.gaps) / (self._last - self._first)

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return self._detokenizer.stopped

    def admitted(self, now: float) -> None:
        """Record when the request left the queue; only the first call counts."""
        if self._admitted is None:
            self._admitted = now

    def step(self, now: float, tokens: int) -> float | None:
        """Record a step that sampled `tokens` tokens.

        Returns:
            The seconds that each of them took: the time since the step before, in equal parts. None for the
            first, whose time is the time to first token.
        """
        last, self._last = self._last, now
        if last is None:
            self._first = now
            return None
        gap = (now - last) / tokens
        self.gaps.extend([gap] * tokens)
        return gap

    def token(self, token: int, logprob: TokenLogprob | None = None, *, ends_turn: bool) -> None:
        """Pass one sampled token and its text to the reader."""
        parts = [] if ends_turn else self._parts(token)
        self.spoke = self.spoke or any(part.text or part.name for part in parts)
        self.stream.put(parts[0] if parts else _NOTHING, token, logprob)
        for part in parts[1:]:
            self.stream.put(part)

    def _parts(self, token: int) -> list[ReplyPart]:
        if self._parser is None:
            return [ReplyPart(self._detokenizer.feed(self._piece(token)))]
        if (mark := self._parser.tokens.get(token)) is None:
            return [*self._parser.feed(self._detokenizer.feed(self._piece(token)))]
        parts = [*self._parser.feed(self._detokenizer.flush())]
        if mark in self.sequence.sampling.stop:
            self._detokenizer.stopped = True
            return parts
        return [*parts, *self._parser.mark(mark)]

    def tell_progress(self) -> None:
        """Tell the reader how much of the prompt is computed."""
        sequence = self.sequence
        if sequence.computed < sequence.prompt_tokens:  # the first token tells that all is read
            self.stream.tell_progress(sequence.computed, sequence.prompt_tokens)

    def finish(self, reason: FinishReason, now: float) -> None:
        """End the stream, with the text that was held back."""
        rest = self._detokenizer.flush()
        parts = [ReplyPart(rest)] if rest else []
        if self._parser is not None:
            parts = [*self._parser.feed(rest), *self._parser.flush()]
        for part in parts:
            self.stream.put(part)
        self.stream.finish(reason, self.timings(now))

    def timings(self, now: float) -> Timings:
        """What the request has cost up to now."""
        sequence = self.sequence
        p50, p95, p99 = percentiles(self.gaps, (50, 95, 99))
        return Timings(
            prompt_tokens=sequence.prompt_tokens,
            cached_tokens=sequence.cached_tokens,
            completion_tokens=sequence.completion_tokens,
            queue_s=(now if self._admitted is None else self._admitted) - self.submitted,
            ttft_s=self.ttft_s or 0.0,
            decode_s=(self._last or 0.0) - (self._first or 0.0),
            tokens_per_second=self.tokens_per_second,
            itl_p50_s=p50 or 0.0,
            itl_p95_s=p95 or 0.0,
            itl_p99_s=p99 or 0.0,
            itl_max_s=max(self.gaps, default=0.0),
        )


class Detokenizer:
    """Decodes UTF-8 that is split across tokens and holds back text that may become a stop string.

    Args:
        stop: strings that end the text; they and everything after them are not part of it.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = stop
        self._longest_hold = max((len(text) for text in stop), default=1) - 1
        self._tail = ""
        self.stopped = False

    def feed(self, data: bytes) -> str:
        """The text that is certain after these bytes; sets `stopped` once a stop string is complete."""
        if self.stopped:
            return ""
        if not self._stop:
            return self._decoder.decode(data)  # nothing can be held back: this is the path of most tokens
        self._tail += self._decoder.decode(data)
        if (cut := self._find_stop()) is not None:
            self.stopped = True
            text, self._tail = self._tail[:cut], ""
            return text
        held = self._held()
        text = self._tail[: len(self._tail) - held]
        self._tail = self._tail[len(self._tail) - held :]
        return text

    def flush(self) -> str:
        """The text still held back, when the answer ends."""
        text = self._tail + ("" if self.stopped else self._decoder.decode(b"", final=True))
        self._tail = ""
        return text

    def _find_stop(self) -> int | None:
        found = [at for text in self._stop if (at := self._tail.find(text)) >= 0]
        return min(found, default=None)

    def _held(self) -> int:
        """Length of the longest suffix of the text that is a prefix of a stop string."""
        for length in range(min(self._longest_hold, len(self._tail)), 0, -1):
            end = self._tail[-length:]
            if any(text.startswith(end) for text in self._stop):
                return length
        return 0


def percentiles(values: Iterable[float], ranks: tuple[int, ...]) -> list[float | None]:
    """Percentiles with linear interpolation; None for each without values."""
    ordered = sorted(values)
    return [_percentile(ordered, rank) if ordered else None for rank in ranks]


def _percentile(ordered: list[float], rank: int) -> float:
    place = (len(ordered) - 1) * rank / 100
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
