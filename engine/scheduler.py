"""What the next step computes: admission, one token budget, preemption.

No I/O and no clock: every decision follows from the order of the calls.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from engine.errors import PromptTooLong, QueueFull
from engine.prefix import SlotCache
from engine.sequence import Sequence, SequenceStatus
from engine.step import StepPlan, StepResult, Trim, Work

__all__ = ["Scheduler", "SchedulerLimits"]

_ANSWER_RESERVE = 256  # cells held back for an answer at admission; most answers end before their limit
_CHUNK = 32  # prefill chunks are multiples of this, so that llama.cpp can reuse its compute graph


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerLimits:
    """Bounds of a scheduler.

    Args:
        max_sessions: sequences in the batch at once.
        max_queue: sequences that may wait.
        batch_tokens: tokens of one step.
        prefill_tokens: prefill share of a step in which others decode.
        sequence_cells: KV cells one sequence may hold.
    """

    max_sessions: int
    max_queue: int
    batch_tokens: int
    prefill_tokens: int
    sequence_cells: int


class Scheduler:
    """Chooses the work of each step; `core` carries it out and reports back."""

    def __init__(self, limits: SchedulerLimits, cache: SlotCache) -> None:
        self.limits = limits
        self.cache = cache
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # in order of admission
        self.preempted = 0
        self._trims: list[Trim] = []

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence.

        Raises:
            PromptTooLong: prompt and answer can never fit.
            QueueFull: `max_queue` sequences wait already.
        """
        needed = sequence.prompt_tokens + (sequence.sampling.max_tokens or 1)
        if needed > self.limits.sequence_cells:
            raise PromptTooLong(needed, self.limits.sequence_cells, prompt_tokens=sequence.prompt_tokens)
        seats = self.limits.max_sessions - len(self.running)
        if len(self.waiting) >= self.limits.max_queue + seats:
            raise QueueFull(
                f"{len(self.waiting)} requests are waiting already, and that is the limit (max_queue)."
                " Try again when one has finished."
            )
        self.waiting.append(sequence)

    def schedule(self) -> StepPlan:
        """Plan the next step: decodes first, then prefill chunks within the token budget."""
        self._make_room_for_decodes()
        self._admit()
        decodes = [s for s in self.running if s.remaining == 1]
        work = [_work(s, 1) for s in decodes[: self.limits.batch_tokens]]
        work += self._prefill(len(work))
        if not work and self.running and self.relieve():
            return self.schedule()
        trims, self._trims = tuple(self._trims), []
        return StepPlan(tuple(work), trims)

    def update(self, plan: StepPlan, result: StepResult) -> None:
        """Enter a successful step: computed tokens and sampled tokens."""
        by_id = {s.request_id: s for s in self.running}
        for item in plan.work:
            sequence = by_id[item.request_id]
            sequence.computed = item.start + len(item.tokens)
            self.cache.grow(item.slot, sequence.computed)
            if item.request_id in result.sampled:
                sequence.tokens.append(result.sampled[item.request_id])

    def resync(self, sequence: Sequence, resident: int) -> None:
        """Enter how many tokens of a sequence really are in the KV cache after a failed step."""
        sequence.computed = min(resident, len(sequence.tokens) - 1)
        if resident > sequence.computed and sequence.slot is not None:
            self._trims.append(Trim(sequence.slot, sequence.computed))
        if sequence.slot is not None:
            self.cache.grow(sequence.slot, sequence.computed)

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is; its KV stays with the session, if it has one."""
        if sequence.status is SequenceStatus.RUNNING:
            self.running.remove(sequence)
            self._release(sequence, keep=True)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        sequence.status = SequenceStatus.FINISHED

    def forget(self, session_id: str) -> None:
        """Drop the KV cache of a session that rests."""
        if (trim := self.cache.forget(session_id)) is not None:
            self._trims.append(trim)

    def relieve(self) -> bool:
        """Free cells after llama.cpp found none: evict an idle session, else preempt the newest.

        Returns:
            False when a single sequence is left and nothing can be freed for it.
        """
        if (trim := self.cache.evict()) is not None:
            self._trims.append(trim)
            return True
        return self._preempt_newest()

    def _make_room_for_decodes(self) -> None:
        while self.cache.free < sum(1 for s in self.running if s.remaining == 1):
            if not self.relieve():
                return

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self.limits.max_sessions:
            if not self._start(self.waiting[0]):
                return
            self.waiting.popleft()

    def _start(self, sequence: Sequence) -> bool:
        """Give the head of the queue its slot and room for its prompt; False when it must wait."""
        cached = self.cache.match(sequence.session_id, sequence.tokens)
        reserve = min(_ANSWER_RESERVE, sequence.tokens_left or _ANSWER_RESERVE)
        needed = min(sequence.remaining + reserve, self.limits.sequence_cells) - cached
        promised = sum(s.remaining for s in self.running)
        if self.running and needed > self.cache.free + self.cache.idle_cells - promised:
            return False
        leased = self.cache.lease(sequence.session_id, sequence.tokens)
        if leased is None:
            return False
        lease, trims = leased
        self._trims += trims
        while self.cache.free - promised < needed and (trim := self.cache.evict()) is not None:
            self._trims.append(trim)
        sequence.slot, sequence.computed = lease.slot, lease.cached
        if not sequence.preemptions:
            sequence.cached_tokens = lease.cached
        sequence.status = SequenceStatus.RUNNING
        self.running.append(sequence)
        return True

    def _prefill(self, decodes: int) -> list[Work]:
        """Share the prefill budget evenly between the prompts that are being read."""
        budget = self.limits.batch_tokens - decodes
        if decodes:
            budget = min(budget, self.limits.prefill_tokens)
        budget = min(budget, self.cache.free - decodes)
        prompts = [s for s in self.running if s.remaining > 1]
        work: list[Work] = []
        for index, sequence in enumerate(prompts):
            share = max(_CHUNK, budget // (len(prompts) - index) // _CHUNK * _CHUNK)
            count = min(share, sequence.remaining, budget)
            if count <= 0:
                break
            work.append(_work(sequence, count))
            budget -= count
        return work

    def _preempt_newest(self) -> bool:
        """Put the newest sequence back to the head of the queue; it is computed again later."""
        if len(self.running) < 2:
            return False
        victim = self.running.pop()
        self._release(victim, keep=False)
        victim.status = SequenceStatus.WAITING
        victim.preemptions += 1
        self.preempted += 1
        self.waiting.appendleft(victim)
        return True

    def _release(self, sequence: Sequence, *, keep: bool) -> None:
        assert sequence.slot is not None
        kept = sequence.tokens[: sequence.computed] if keep else []
        trim = self.cache.release(sequence.slot, sequence.session_id, kept)
        if trim is not None:
            self._trims.append(trim)
        sequence.slot, sequence.computed = None, 0


def _work(sequence: Sequence, count: int) -> Work:
    assert sequence.slot is not None
    start = sequence.computed
    tokens = tuple(sequence.tokens[start : start + count])
    return Work(sequence.request_id, sequence.slot, start, tokens, start + count == len(sequence.tokens))
