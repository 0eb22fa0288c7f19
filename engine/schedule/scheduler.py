"""What the next step computes: admission, one token budget, fairness, preemption.

No I/O and no clock: every decision follows from the order of the calls and from what steps are known to cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import PromptTooLong, QueueFull
from engine.kv.parking import Parking
from engine.kv.prefix import PrefixCache, session_key
from engine.schedule.admission import Admission, request_key
from engine.schedule.costs import CHUNK, StepCosts
from engine.schedule.queue import TokenCounters, WaitingQueue, service_order
from engine.schedule.sequence import Sequence, SequenceStatus
from engine.schedule.speculation import Speculator
from engine.step import Move, Save, StepPlan, StepResult, Trim, Work
from engine.types import Priority

__all__ = ["Scheduler", "SchedulerLimits"]

_MOST_PATIENCE = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerLimits:
    """Bounds of a scheduler.

    Args:
        max_sessions: sequences in the batch at once.
        max_queue: sequences that may wait.
        batch_tokens: tokens of one step.
        draft_tokens: guessed tokens of one step, all sequences together.
        sequence_cells: KV cells one sequence may hold.
        token_bytes: size of a KV cell.
    """

    max_sessions: int
    max_queue: int
    batch_tokens: int
    draft_tokens: int
    sequence_cells: int
    token_bytes: int = 1


class Scheduler:
    """Chooses the work of each step; `core` carries it out and reports back."""

    def __init__(
        self,
        limits: SchedulerLimits,
        cache: PrefixCache,
        *,
        costs: StepCosts,
        parking: Parking,
        speculator: Speculator,
        parks: bool = True,
    ) -> None:
        self.limits = limits
        self.cache = cache
        self.costs = costs
        self.parking = parking
        self.speculator = speculator
        self.waiting = WaitingQueue()
        self.running: list[Sequence] = []  # in order of admission
        self.preempted = 0
        self._admission = Admission(
            cache,
            parking,
            costs,
            sequence_cells=limits.sequence_cells,
            token_bytes=limits.token_bytes,
            parks=parks,
        )
        cache.parks = self._admission.worth_parking
        self._counters = TokenCounters()
        self._focus: str | None = None
        self._moves: list[Move] = []

    @property
    def restored(self) -> int:
        """KV states brought back so far."""
        return self._admission.restored

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
        self._rank(sequence)
        self._counters.arrive(sequence, [*self.running, *self.waiting])
        self.waiting.add(sequence)

    def schedule(self) -> StepPlan:
        """Plan the next step: decodes first, then prefill chunks within the token budget."""
        self._release_followers()
        self._make_room_for_decodes()
        self._admit()
        self._close_gaps()
        work = self._decode()
        work += self._prefill(work)
        if not work and any(_runnable(s) for s in self.running) and self.relieve():
            return self.schedule()
        moves, self._moves = tuple(self._moves), []
        return StepPlan(tuple(work), moves)

    def update(self, plan: StepPlan, result: StepResult) -> None:
        """Enter a successful step: computed tokens and sampled tokens."""
        by_id = {s.request_id: s for s in self.running}
        for item in plan.work:
            sequence, sampled = by_id[item.request_id], result.sampled.get(item.request_id, ())
            right = max(0, len(sampled) - 1)
            fresh = len(item.tokens) - len(item.drafts)
            sequence.tokens.extend(sampled)
            sequence.computed = item.start + fresh + right
            self.cache.grow(item.slot, sequence.computed)
            if item.drafts:
                self.speculator.note(item.request_id, len(item.drafts), right)
            if item.is_prefill:
                self._share(sequence)
            self._counters.charge(sequence, fresh if item.is_prefill else 0, len(sampled))
        self.costs.note_step(
            decodes=sum(not item.is_prefill for item in plan.work),
            prefill=plan.prefill_tokens,
            drafts=plan.draft_tokens,
            seconds=result.decode_s + result.sample_s,
        )

    def resync(self, resident: Callable[[int], int]) -> None:
        """After a failed step, enter how many tokens of each running sequence really are in the KV cache."""
        for sequence in self.running:
            assert sequence.slot is not None
            there = resident(sequence.slot)
            sequence.computed = min(there, len(sequence.tokens) - 1)
            if there > sequence.computed:
                self._moves.append(Trim(sequence.slot, sequence.computed))
            self.cache.grow(sequence.slot, sequence.computed)

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is; its KV stays with the session, if it has one."""
        if sequence.status is SequenceStatus.RUNNING:
            self.running.remove(sequence)
            sequence.status = SequenceStatus.FINISHED
            self._release_followers()  # before what they wait for is gone
            self._leave(sequence, keep=True)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        sequence.status = SequenceStatus.FINISHED
        self.speculator.close(sequence.request_id)
        self._unpark(request_key(sequence.request_id))

    def forget(self, session_id: str) -> None:
        """Drop the KV cache of a session, wherever it is; that of an answer under way when it ends."""
        for sequence in [*self.running, *self.waiting]:
            if sequence.session_id == session_id:
                sequence.session_id = None
        self._unpark(session_key(session_id))
        self._moves += self.cache.forget(session_id)

    def focus(self, session_id: str | None) -> None:
        """Let a session's requests go before the others' from now on; None: nobody's."""
        self._focus = session_id
        for sequence in [*self.running, *self.waiting]:
            self._rank(sequence)

    def relieve(self) -> bool:
        """Free cells: evict an idle session, else put back the newest of the lowest priority.

        Returns:
            False when a single sequence is left and nothing can be freed for it.
        """
        if (moves := self.cache.evict()) is not None:
            self._moves += moves
            return True
        return self._preempt()

    def _rank(self, sequence: Sequence) -> None:
        watched = self._focus is not None and sequence.session_id == self._focus
        sequence.priority = Priority.FOREGROUND if watched else sequence.base_priority

    def _release_followers(self) -> None:
        """Let those go on whose leader has read what they share, or has left."""
        for place, sequence in enumerate(self.running):
            leader = sequence.leader
            if leader is None or sequence.slot is None:
                continue
            reading = leader.status is SequenceStatus.RUNNING and not leader.paused
            if reading and leader.computed < sequence.shared:
                continue
            found, moves = self.cache.attach(sequence.slot, sequence.tokens)
            self._moves += moves
            sequence.find(found)
            sequence.leader, sequence.shared = self._admission.find_leader(
                sequence, self.running[:place], known=sequence.computed
            )

    def _make_room_for_decodes(self) -> None:
        while self.cache.free < sum(1 for s in self.running if _decodes(s)):
            if not self.relieve():
                return

    def _admit(self) -> None:
        if not self.waiting:
            return
        if len(self.running) >= self.limits.max_sessions and any(s.paused for s in self.running):
            self._preempt()  # whoever stands still gives up the seat
        if len(self.running) >= self.limits.max_sessions:
            return  # putting the queue in order for nobody would cost each step of a busy engine
        blocked: list[Sequence] = []
        for sequence in self.waiting.candidates(self._counters):
            if len(self.running) >= self.limits.max_sessions:
                return
            moves = self._admission.start(sequence, self.running)
            if moves is None:
                blocked.append(sequence)
                continue
            self._moves += moves
            self.waiting.admit(sequence)
            self.running.append(sequence)
            for other in blocked:
                self.waiting.overtaken(other)

    def _close_gaps(self) -> None:
        if (moved := self.cache.compact()) is not None:
            top, gap, moves = moved
            self._moves += moves
            for sequence in self.running:
                if sequence.slot == top:
                    sequence.slot = gap

    def _decode(self) -> list[Work]:
        """One token of every sequence that has read its prompt, and guesses at the next ones."""
        ready = [s for s in self.running if _decodes(s)][: self.limits.batch_tokens]
        room = min(
            self.limits.draft_tokens,
            self.limits.batch_tokens - len(ready),
            self.cache.free - len(ready),
        )
        work: list[Work] = []
        for sequence in ready:
            drafts: tuple[int, ...] = ()
            if room > 0 and self.cache.shares:
                drafts = self.speculator.drafts(
                    sequence, room=self._draft_room(sequence, room), decodes=len(ready)
                )
                room -= len(drafts)
            work.append(_decode_work(sequence, drafts))
        return work

    def _draft_room(self, sequence: Sequence, room: int) -> int:
        """Guesses that would not outgrow the sequence's own limits: the answer's length and its cells."""
        left = sequence.tokens_left
        cells = self.limits.sequence_cells - len(sequence.tokens)
        return max(0, min(room, cells, cells if left is None else left - 1))

    def _prefill(self, decodes: list[Work]) -> list[Work]:
        """Spend what the latency target leaves: the highest priority first, then whoever has had least."""
        taken = sum(len(item.tokens) for item in decodes)
        patience = self._patience(len(decodes))
        budget = self.costs.prefill_budget(len(decodes), self.limits.batch_tokens - taken, patience)
        budget = min(budget, self.cache.free - taken)
        readers = [s for s in self.running if _runnable(s) and s.remaining > 1]
        work: list[Work] = []
        for sequence in service_order(readers, self._counters):
            count = min(sequence.remaining, budget)
            if count < sequence.remaining and count > CHUNK:
                count -= count % CHUNK
            if count <= 0:
                break
            work.append(_prefill_work(sequence, count))
            budget -= count
        return work

    def _patience(self, decodes: int) -> float:
        """How many times the latency target a step may take: the more wait for each that writes, the more.

        Of sixteen chats asked at once, the first to have read its prompt would else hold the others back:
        all weights are read in each step, for a few of their tokens. The one on screen is not made to pause.
        """
        if not decodes or any(s.priority is Priority.FOREGROUND and _decodes(s) for s in self.running):
            return 1.0
        waiting = sum(s.remaining > 1 and not s.paused for s in self.running)
        return min(1 + waiting / decodes, _MOST_PATIENCE)

    def _share(self, sequence: Sequence) -> None:
        """Let others find what has been read of a prompt, and keep its head."""
        assert sequence.slot is not None
        self._moves += self.cache.commit(sequence.slot, sequence.tokens[: sequence.computed])
        if 0 < sequence.head_tokens <= sequence.computed:
            self.cache.pin(sequence.tokens[: sequence.head_tokens])

    def _preempt(self) -> bool:
        """Put a sequence back into the queue: parked if that is worth it, else computed again later."""
        if len(self.running) < 2 and not any(s.paused for s in self.running):
            return False
        victim = min(self.running, key=lambda s: (not s.paused, s.priority, -s.request_id))
        self.running.remove(victim)
        victim.status = SequenceStatus.WAITING
        self._release_followers()
        assert victim.slot is not None
        if self._admission.worth_parking(victim.computed):
            tokens = tuple(victim.tokens[: victim.computed])
            self._moves.append(Save(victim.slot, request_key(victim.request_id), tokens))
        self._leave(victim, keep=False)
        victim.preemptions += 1
        self.preempted += 1
        self.waiting.put_back(victim)
        return True

    def _unpark(self, key: str) -> None:
        """Drop a saved state, and do not save one that was about to be."""
        self.parking.drop(key)
        self._moves = [move for move in self._moves if not (isinstance(move, Save) and move.key == key)]

    def _leave(self, sequence: Sequence, *, keep: bool) -> None:
        assert sequence.slot is not None
        kept = sequence.tokens[: sequence.computed] if keep else []
        self._moves += self.cache.release(sequence.slot, sequence.session_id, kept)
        sequence.slot, sequence.computed = None, 0
        sequence.leader, sequence.shared = None, 0


def _runnable(sequence: Sequence) -> bool:
    return sequence.leader is None and not sequence.paused


def _decodes(sequence: Sequence) -> bool:
    return sequence.remaining == 1 and _runnable(sequence)


def _decode_work(sequence: Sequence, drafts: tuple[int, ...]) -> Work:
    assert sequence.slot is not None
    start = sequence.computed
    return Work(sequence.request_id, sequence.slot, start, (sequence.tokens[start], *drafts), 1 + len(drafts))


def _prefill_work(sequence: Sequence, count: int) -> Work:
    assert sequence.slot is not None
    start = sequence.computed
    rows = 1 if start + count == len(sequence.tokens) else 0
    return Work(
        sequence.request_id, sequence.slot, start, tuple(sequence.tokens[start : start + count]), rows
    )
