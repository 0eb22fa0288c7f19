"""What to summarise next. Pure: branch, window starts and summaries in, tasks out.

Messages are summarised in chunks of whole exchanges when they leave the prompt; once the history is nearly
full, so are those that will leave next. Eight summaries in a row become one of the next level.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise, takewhile

from memory.ports import TokenCounter
from memory.storage import cover, says_something
from memory.text import clip, marked, own_words
from memory.types import Message, Summary

__all__ = ["Limits", "SummaryTask", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes, in tokens, and shares of the history's budget.

    Args:
        chunk_tokens: the most that one summary of level 0 covers.
        least_tokens: less than this is not worth a summary yet.
        summary_tokens: the most that a summary may take.
        fan_in: how many summaries become one of the next level.
        prepare_share: how full the history is when the messages that will leave next are summarised.
        evicted_share: how much of the history one eviction drops, oldest first.
    """

    chunk_tokens: int = 800
    least_tokens: int = 64
    summary_tokens: int = 96
    fan_in: int = 8
    prepare_share: float = 0.7
    evicted_share: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryTask:
    """One summary to make.

    Args:
        sources: ids of the messages it will stand for, oldest first.
        texts: what to summarise: messages with their speakers, or summaries.
        user_texts: what to quote from without a model: the user's messages, or the summaries.
        max_tokens: limit for the summary.
    """

    session_id: str
    level: int
    sources: tuple[str, ...]
    texts: tuple[str, ...]
    user_texts: tuple[str, ...]
    max_tokens: int


def plan(
    branch: Sequence[Message],
    summaries: Sequence[Summary],
    *,
    window_starts: Collection[str],
    history_tokens: int,
    counter: TokenCounter,
    limits: Limits,
) -> tuple[SummaryTask, ...]:
    """All tasks that can be done now: for what has left the prompt, what will leave it, and higher levels.

    Args:
        branch: from the root, oldest first.
        summaries: those valid on this branch.
        window_starts: ids of messages where prompts started; the last of them on the branch counts.
        history_tokens: the part of the budget that is for the messages themselves.
    """
    due = _Due(branch, window_starts, history_tokens, counter, limits)
    everything = [*due.left_out, *due.ahead]
    # A summary prepared ahead may reach past the actual window start; it does not cover what left the prompt.
    shown = cover(summaries, [message.id for message in due.left_out])
    prepared = cover(summaries, [message.id for message in everything])
    chunks = [
        _chunk(messages, due.sizes, limits)
        for run in (*_uncovered(due.left_out, shown), *_uncovered(due.ahead, prepared))
        for messages in _split(run, due.sizes, limits)
    ]
    rolls = [_roll_up(run, counter, limits) for run in _runs(prepared, everything, limits.fan_in)]
    return (*chunks, *rolls)


class _Due:
    """The messages that have left the prompt, and those that will leave next, with their token counts."""

    def __init__(
        self,
        branch: Sequence[Message],
        window_starts: Collection[str],
        history_tokens: int,
        counter: TokenCounter,
        limits: Limits,
    ) -> None:
        start = max((place for place, message in enumerate(branch) if message.id in window_starts), default=0)
        kept = branch[start:]
        self.sizes = {
            message.id: counter.count_text(message.content)
            for message in branch
            if says_something(message.role, message.content)
        }
        fill = sum(self.sizes.get(message.id, 0) for message in kept)
        is_nearly_full = fill >= limits.prepare_share * history_tokens
        end = (
            start + self._next_window_start(kept, limits.evicted_share * history_tokens)
            if is_nearly_full
            else start
        )
        # A streaming reply is not complete yet.
        ready = list(takewhile(lambda message: message.status != "streaming", branch[:end]))
        self.left_out = [message for message in ready[:start] if message.id in self.sizes]
        self.ahead = [message for message in ready[start:] if message.id in self.sizes]

    def _next_window_start(self, kept: Sequence[Message], tokens: float) -> int:
        """The index in `kept` of the first exchange that stays; the newest always stays."""
        starts = [place for place, message in enumerate(kept) if message.role == "user" and place]
        before = list(accumulate((self.sizes.get(message.id, 0) for message in kept), initial=0))
        return max((start for start in starts if before[start] <= tokens), default=min(starts, default=0))


def _uncovered(messages: Sequence[Message], summaries: Sequence[Summary]) -> Iterator[list[Message]]:
    covered = {source for item in summaries for source in item.sources}
    for is_covered, run in groupby(messages, key=lambda message: message.id in covered):
        if not is_covered:
            yield list(run)


def _split(run: Sequence[Message], sizes: dict[str, int], limits: Limits) -> list[list[Message]]:
    """Chunks of whole exchanges, or of single messages where an exchange is too long for a chunk.

    What is too short for a chunk joins its neighbour, or waits if there is none.
    """
    chunks: list[list[Message]] = []
    for unit in _units(run, sizes, limits.chunk_tokens):
        held = _tokens(chunks[-1], sizes) if chunks else 0
        if chunks and (held < limits.least_tokens or held + _tokens(unit, sizes) <= limits.chunk_tokens):
            chunks[-1] += unit
        else:
            chunks.append(unit)
    if len(chunks) > 1 and _tokens(chunks[-1], sizes) < limits.least_tokens:
        rest = chunks.pop()
        chunks[-1] += rest
    return chunks if chunks and _tokens(chunks[0], sizes) >= limits.least_tokens else []


def _units(run: Sequence[Message], sizes: dict[str, int], chunk_tokens: int) -> Iterator[list[Message]]:
    exchange: list[Message] = []
    for message in (*run, None):
        if exchange and (message is None or message.role == "user"):
            if _tokens(exchange, sizes) <= chunk_tokens:
                yield exchange
            else:
                yield from ([single] for single in exchange)
            exchange = []
        if message is not None:
            exchange.append(message)


def _tokens(messages: Sequence[Message], sizes: dict[str, int]) -> int:
    return sum(sizes[message.id] for message in messages)


def _chunk(messages: Sequence[Message], sizes: dict[str, int], limits: Limits) -> SummaryTask:
    return SummaryTask(
        session_id=messages[0].session_id,
        level=0,
        sources=tuple(message.id for message in messages),
        texts=tuple(
            f"{message.role.capitalize()}: "
            f"{_shortened(marked(message.content, message.quoted), sizes[message.id], limits)}"
            for message in messages
        ),
        user_texts=tuple(
            own_words(message.content, message.quoted) for message in messages if message.role == "user"
        ),
        max_tokens=_summary_tokens(_tokens(messages, sizes), limits),
    )


def _shortened(text: str, tokens: int, limits: Limits) -> str:
    """The text, without its middle if it is longer than a chunk: the summariser's context is small."""
    if tokens <= limits.chunk_tokens:
        return text
    room = len(text) * limits.chunk_tokens // tokens
    return f"{clip(text, room * 2 // 3)} {text[len(text) - room // 3 :]}"


def _summary_tokens(tokens: int, limits: Limits) -> int:
    return min(limits.summary_tokens, max(tokens // 4, limits.least_tokens // 2))


def _runs(shown: Sequence[Summary], due: Sequence[Message], fan_in: int) -> Iterator[tuple[Summary, ...]]:
    """Runs of `fan_in` adjacent summaries of one level, the oldest first."""
    following = {one.id: other.id for one, other in pairwise(due)}
    run: list[Summary] = []
    for item in shown:
        joined = run and run[-1].level == item.level and following.get(run[-1].sources[-1]) == item.sources[0]
        run = [*run, item] if joined else [item]
        if len(run) == fan_in:
            yield tuple(run)
            run = []


def _roll_up(summaries: Sequence[Summary], counter: TokenCounter, limits: Limits) -> SummaryTask:
    texts = tuple(summary.text for summary in summaries)
    return SummaryTask(
        session_id=summaries[0].session_id,
        level=summaries[0].level + 1,
        sources=tuple(source for summary in summaries for source in summary.sources),
        texts=texts,
        user_texts=texts,
        max_tokens=_summary_tokens(sum(map(counter.count_text, texts)), limits),
    )
