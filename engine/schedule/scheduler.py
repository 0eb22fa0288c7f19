"""Plans the next step: admission, one token budget, fairness, preemption.

No I/O and no clock: every decision follows from the order of the calls and from the known costs of steps.
Each call that affects the KV cache returns the moves it takes; the caller has them made before the next
plan is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from engine.errors import PromptTooLong, QueueFull
from engine.kv import Parking, PrefixCache, session_key
from engine.schedule.admission import Admission, Delay, Placement, request_key
from engine.schedule.costs import CHUNK, StepCosts
from engine.schedule.queue import TokenCounters, WaitingQueue, service_order
from engine.schedule.sequence import TokenSequence
from engine.schedule.speculation import Speculation, Speculator
from engine.step import Move, Save, StepPlan, StepResult, Trim, Work
from engine.types import Priority, SamplingParams

__all__ = ["Scheduler", "SchedulerLimits"]

_MAX_STRETCH = 16.0  # times the latency target
_DEEP = 512  # tokens before a chunk from which a whole tile takes less time than half a one by rows
_WATCHED_STRETCH = 8.0  # at least so much where a person waits for a prompt and watches no answer
_ALL: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerLimits:
    """Bounds of a scheduler.

    Args:
        max_running: sequences in the batch at the same time.
        max_queue: sequences that may wait.
        batch_tokens: tokens of one step.
        draft_tokens: drafted tokens of one step, all sequences together.
        sequence_cells: KV cells one sequence may hold.
        tile: prompt tokens from which a step computes attention several rows at a time; 0: at any number.
    """

    max_running: int
    max_queue: int
    batch_tokens: int
    draft_tokens: int
    sequence_cells: int
    tile: int = 0


class Scheduler:
    """Chooses the work of each step and books its result; nothing else changes a sequence."""

    def __init__(
        self,
        limits: SchedulerLimits,
        cache: PrefixCache,
        *,
        costs: StepCosts,
        parking: Parking,
        speculator: Speculator,
    ) -> None:
        self.limits = limits
        self.cache = cache
        self.costs = costs
        self.parking = parking
        self.speculator = speculator
        self.waiting = WaitingQueue()
        self.running: list[TokenSequence] = []  # in order of admission
        self.preempted = 0
        self.restored = 0
        self._admission = Admission(cache, parking, sequence_cells=limits.sequence_cells)
        self._counters = TokenCounters()
        self._focus: str | None = None
        self._put_back_now: list[TokenSequence] = []  # in this step

    # Requests

    def add(self, sequence: TokenSequence) -> None:
        """Queue a sequence. An answer for which there is less room than asked for ends with the context.

        Raises:
            PromptTooLong: the prompt can never fit, with a token of the answer.
            QueueFull: `max_queue` sequences are already waiting.
        """
        self.check_fits(sequence)
        free_places = self.limits.max_running - sum(not s.paused for s in self.running)
        if (waiting := self.waiting.ready) >= self.limits.max_queue + free_places:
            raise QueueFull(
                f"{waiting} requests are already waiting; max_queue allows {self.limits.max_queue}, and one"
                " for each free place. Try again when one has finished."
            )
        sequence.priority = self._own_priority(sequence)
        self._counters.arrive(sequence, [*self.running, *self.waiting])
        self.waiting.add(sequence)

    def check_fits(self, sequence: TokenSequence) -> None:
        """Refuse a prompt that can never fit with a token of the answer. Raises PromptTooLong."""
        needed = sequence.prompt_tokens + 1
        if needed > self.limits.sequence_cells:
            raise PromptTooLong(needed, self.limits.sequence_cells, prompt_tokens=sequence.prompt_tokens)

    def finish(self, sequence: TokenSequence) -> list[Move]:
        """Remove a sequence, running or waiting; its KV cache stays until its cells are needed."""
        moves: list[Move] = []
        if sequence.slot is not None:
            self.running.remove(sequence)
            moves += self._release_followers(sequence)  # while the prefix they wait for is still there
            moves += self._leave(sequence, keep=True)
            self._rank_all()
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
            if sequence.session_id is not None:
                self.parking.leave(session_key(sequence.session_id))
        self.speculator.close(sequence.request_id)
        self.parking.drop(request_key(sequence.request_id))
        return moves

    def pause(self, sequence: TokenSequence) -> None:
        """Generate nothing more for a sequence, whose reader lags, until `resume`."""
        sequence.lagging = True

    def resume(self, sequence: TokenSequence) -> None:
        """Its reader has caught up."""
        sequence.lagging = False

    def adjust(
        self,
        sequence: TokenSequence,
        *,
        held: bool,
        priority: Priority | None = None,
        sampling: SamplingParams | None = None,
    ) -> None:
        """Pause or continue a sequence, and change its priority and its sampling, if they are given."""
        sequence.held = held
        if sampling is not None:
            sequence.sampling = sampling
        if priority is not None and priority is not sequence.base_priority:
            sequence.base_priority = priority
            self._rank_all()

    def forget(self, session_id: str) -> list[Move]:
        """Drop a session's KV cache, wherever it is, and what belongs to no session; requests in progress
        drop theirs when they end. (A request without a session may be a second answer to the same chat.)"""
        for sequence in [*self.running, *self.waiting]:
            if sequence.session_id in (None, session_id):
                sequence.session_id = None
                sequence.forgotten = True
        self.parking.drop(session_key(session_id))
        return self.cache.forget(session_id)

    def focus(self, session_id: str | None) -> None:
        """Serve one session's requests before all others from now on; None: no session's."""
        self._focus = session_id
        self._rank_all()

    def change(
        self, limits: SchedulerLimits, *, target_s: float, speculation: Speculation, most: int
    ) -> None:
        """Use other limits from the next step on; what runs beyond them goes on to its end."""
        self.limits = limits
        self.costs.aim(target_s)
        self.speculator.change(speculation, most=most)

    def suspend(self) -> list[Move]:
        """Return every sequence to the queue and empty the cache; what is worth it is parked."""
        moves: list[Move] = []
        while self.running:
            moves += self._put_back(self.running[-1])
        while (evicted := self.cache.evict()) is not None:
            moves += evicted
        return moves

    def take_over(self, old: Scheduler) -> None:
        """Serve what waits at a suspended scheduler."""
        self.waiting, self._counters, self._focus = old.waiting, old._counters, old._focus
        self.preempted, self.restored = old.preempted, old.restored
        self.cache.evicted = old.cache.evicted

    # Steps

    def schedule(self) -> StepPlan:
        """Plan the next step: decodes first, then prefill chunks within the token budget."""
        moves: list[Move] = []
        self._put_back_now.clear()
        while True:
            moves += self._release_followers()
            moves += self._make_room_for_decodes()
            moves += self._admit()
            moves += self._close_gaps()
            work = self._decode()
            work += self._prefill(work)
            if work or not any(_runnable(s) for s in self.running) or (freed := self.relieve()) is None:
                return StepPlan(tuple(work), tuple(moves))
            moves += freed

    def update(self, plan: StepPlan, result: StepResult, kept: Mapping[int, int] = _ALL) -> list[Move]:
        """Book a successful step: computed tokens and sampled tokens.

        Args:
            kept: request id -> how many of its sampled tokens count, where an answer ends before the last.
        """
        moves: list[Move] = []
        by_id = {s.request_id: s for s in self.running}
        for item in plan.work:
            sequence, sampled = by_id[item.request_id], result.sampled.get(item.request_id, ())
            count = kept.get(item.request_id, len(sampled))
            accepted = max(0, len(sampled) - 1)
            drafted = max(0, item.rows - 1)
            fresh = len(item.tokens) - drafted
            sequence.tokens.extend(sampled[:count])
            sequence.computed = item.start + fresh + max(0, count - 1)
            self.cache.resize(
                item.slot, item.start + fresh + accepted
            )  # the cells do not know where answers end
            if drafted:
                self.speculator.record(item.request_id, drafted, accepted)
            read = 0
            if item.is_prefill:
                moves += self._publish(sequence)
                read = fresh
            self._counters.charge(sequence, read, count)
        decodes, prefill, drafts = plan.shares
        self.costs.record_step(
            decodes=decodes, prefill=prefill, drafts=drafts, seconds=result.decode_s + result.sample_s
        )
        return moves

    def resync(self, plan: StepPlan, resident: Callable[[int], int]) -> list[Move]:
        """After a failed step, book how many tokens of each running sequence the KV cache actually holds.

        Args:
            plan: the step that failed.
            resident: slot -> tokens it holds.
        """
        moves: list[Move] = []
        touched = {item.slot for item in plan.work}
        for sequence in self.running:
            slot = sequence.slot
            assert slot is not None
            there = resident(slot)
            known = min(there, len(sequence.tokens) - 1)
            if not self.cache.cuts and (slot in touched or there != sequence.computed):
                known = 0  # its state may have changed, whatever its length says
            if there > known:
                moves.append(Trim(slot, known))
            self.cache.resize(slot, known)
            sequence.computed = known
        for sequence in self.running:  # only now is the tree right about all slots
            if not sequence.computed and sequence.slot is not None:
                sequence.computed, shared = self.cache.attach(sequence.slot, sequence.tokens)
                moves += shared
        return moves

    def relieve(self) -> list[Move] | None:
        """Free cells: evict an idle session, else preempt a running sequence.

        Returns:
            The moves, or None when a single sequence is left and nothing can be freed for it.
        """
        moves = self.cache.evict()
        return self._preempt() if moves is None else moves

    # Admission

    def _own_priority(self, sequence: TokenSequence) -> Priority:
        focused = self._focus is not None and sequence.session_id == self._focus
        return Priority.FOREGROUND if focused else sequence.base_priority

    def _rank_all(self) -> None:
        """Set all priorities: each sequence's own, and for a leader the highest of those that wait for it."""
        for sequence in [*self.running, *self.waiting]:
            sequence.priority = self._own_priority(sequence)
        for sequence in reversed(self.running):  # a follower stands behind its leader
            if sequence.leader is not None:
                sequence.leader.priority = max(sequence.leader.priority, sequence.priority)

    def _admit(self) -> list[Move]:
        moves: list[Move] = []
        if not self.waiting or not self.waiting.ready:
            return moves
        while len(self.running) >= self.limits.max_running and any(s.paused for s in self.running):
            moves += self._preempt() or ()  # paused sequences give up their places
        if len(self.running) >= self.limits.max_running:
            return moves  # sorting the queue for nothing would slow a busy engine
        blocked: list[TokenSequence] = []
        for sequence in self.waiting.admissible(self._counters):
            if len(self.running) >= self.limits.max_running:
                break
            if sequence in self._put_back_now:
                continue  # its state is saved in this step, and can be restored in the next
            placement = self._admission.place(sequence, self.running)
            while placement is Delay.ROOM and any(s.paused for s in self.running):
                moves += self._preempt() or ()  # a paused sequence gives up its cells
                placement = self._admission.place(sequence, self.running)
            if isinstance(placement, Delay):
                blocked.append(sequence)
                continue
            moves += placement.moves
            self._enter(sequence, placement)
            moves += self._fill_tile(sequence)
            for other in blocked:
                self.waiting.overtaken(other)
        return moves

    def _enter(self, sequence: TokenSequence, placement: Placement) -> None:
        self.waiting.admit(sequence)
        self.running.append(sequence)
        sequence.slot = placement.slot
        sequence.leader, sequence.shared = placement.leader, placement.shared
        if placement.leader is not None:
            self._rank_all()
        self.restored += placement.restored
        _start_at(sequence, placement.computed)

    def _fill_tile(self, sequence: TokenSequence) -> list[Move]:
        """Compute the end of a cached prefix again where that makes the rest of the prompt a whole tile, and
        fewer rows would take longer. They do behind a long prefix where llama.cpp computes them slowly.
        """
        tile, start = self.limits.tile, len(sequence.tokens) - self.limits.tile
        if not self.cache.cuts or sequence.leader is not None or start < _DEEP:
            return []
        if not tile * 3 // 8 <= sequence.remaining < tile or not self.costs.tile_pays(sequence.remaining):
            return []
        if self._watches_an_answer() and not self._fits_beside_decodes(tile):
            return []
        assert sequence.slot is not None
        _start_at(sequence, start)
        return self.cache.cut(sequence.slot, start)

    def _release_followers(self, leaving: TokenSequence | None = None) -> list[Move]:
        """Release followers whose leader has computed the shared prefix, is paused, or is leaving."""
        moves: list[Move] = []
        released = False
        for place, sequence in enumerate(self.running):
            leader = sequence.leader
            if leader is None or sequence.slot is None:
                continue
            if leader is not leaving and not leader.paused and leader.computed < sequence.shared:
                continue
            released = True
            found, shared = self.cache.attach(sequence.slot, sequence.tokens)
            moves += shared
            _start_at(sequence, found)
            sequence.leader, sequence.shared = self._admission.find_leader(
                sequence, self.running[:place], known=sequence.computed
            )
        if released:
            self._rank_all()
        return moves

    def _preempt(self) -> list[Move] | None:
        """Return a sequence to the queue: parked if that is worth it, else computed again later."""
        if len(self.running) < 2 and not any(s.paused for s in self.running):
            return None
        return self._put_back(min(self.running, key=lambda s: (not s.paused, s.priority, -s.request_id)))

    def _put_back(self, victim: TokenSequence) -> list[Move]:
        self.running.remove(victim)
        moves = self._release_followers(victim)
        assert victim.slot is not None
        if self.cache.worth_parking(victim.computed):
            tokens = tuple(victim.tokens[: victim.computed])
            moves.append(Save(victim.slot, request_key(victim.request_id), tokens))
        moves += self._leave(victim, keep=False)
        victim.preemptions += 1
        self.preempted += 1
        self.waiting.put_back(victim)
        self._put_back_now.append(victim)
        return moves

    def _leave(self, sequence: TokenSequence, *, keep: bool) -> list[Move]:
        assert sequence.slot is not None
        kept = sequence.tokens[: sequence.computed] if keep and not sequence.forgotten else []
        moves = self.cache.release(sequence.slot, sequence.session_id, kept)
        sequence.slot = sequence.leader = None
        sequence.computed = sequence.shared = 0
        return moves

    # Work

    def _make_room_for_decodes(self) -> list[Move]:
        moves: list[Move] = []
        if self.cache.free >= len(self.running):
            return moves
        while self.cache.free < sum(1 for s in self.running if _decodes(s)):
            if (freed := self.relieve()) is None:
                break
            moves += freed
        return moves

    def _close_gaps(self) -> list[Move]:
        # llama.cpp copies a stream with the next forward pass; without one it would only be in the way.
        if not self.cache.split or not any(_runnable(s) for s in self.running):
            return []
        if (moved := self.cache.compact()) is None:
            return []
        top, gap, moves = moved
        for sequence in self.running:
            if sequence.slot == top:
                sequence.slot = gap
        return moves

    def _fits_beside_decodes(self, tokens: int) -> bool:
        """Whether one step has time for `tokens` prompt tokens beside the sequences that decode."""
        decodes = sum(_decodes(sequence) for sequence in self.running)
        most = self.limits.batch_tokens
        return self.costs.prefill_budget(decodes, most, self._stretch(decodes), ready=tokens) >= tokens

    def _decode(self) -> list[Work]:
        """One token for every sequence whose prompt is computed, with drafts of the next ones."""
        ready = [s for s in self.running if _decodes(s)][: self.limits.batch_tokens]
        room = 0
        if self.speculator.active and self.cache.cuts:  # rejected drafts are cut off
            room = min(
                self.limits.draft_tokens,
                self.limits.batch_tokens - len(ready),
                self.cache.free - len(ready),
            )
        work: list[Work] = []
        for sequence in ready:
            drafts: tuple[int, ...] = ()
            if room > 0:
                drafts = self.speculator.drafts(
                    sequence, room=self._draft_room(sequence, room), decodes=len(ready)
                )
                room -= len(drafts)
            work.append(_decode_work(sequence, drafts))
        return work

    def _draft_room(self, sequence: TokenSequence, room: int) -> int:
        """How many drafts fit the sequence's own limits: the length of its answer and its cells."""
        left = sequence.tokens_left
        cells = self.limits.sequence_cells - len(sequence.tokens)
        return max(0, min(room, cells, cells if left is None else left - 1))

    def _prefill(self, decodes: list[Work]) -> list[Work]:
        """Spend what the latency target leaves: highest priority first, then the least served session."""
        readers = [s for s in self.running if s.remaining > 1 and _runnable(s)]
        if not readers:
            return []
        taken = sum(len(item.tokens) for item in decodes)
        stretch = self._stretch(len(decodes))
        tile = self.limits.tile if decodes and not self._watches_an_answer() else 0
        room = min(self.limits.batch_tokens, self.cache.free) - taken
        ready = sum(sequence.remaining for sequence in readers)
        fitting = self.costs.prefill_budget(
            len(decodes), max(0, room), stretch, max(tile, CHUNK), ready=ready
        )
        budget = min(room, fitting)
        work: list[Work] = []
        for sequence in service_order(readers, self._counters):
            count = self._chunk(sequence, budget, room, tile)
            if count <= 0:
                break
            work.append(_prefill_work(sequence, count))
            budget -= count
            room -= count
        return work

    def _chunk(self, sequence: TokenSequence, budget: int, room: int, tile: int) -> int:
        """How many tokens of a prompt to compute: about the budget, and not fewer than a tile, which would be
        computed row by row. That costs more the deeper they are in the context, so what is left over comes
        first, or together with the last tile.

        Args:
            room: tokens that fit the step.
            tile: 0 if fewer may be computed.
        """
        remaining, most = sequence.remaining, self._until_checkpoint(sequence)
        count = min(remaining, budget, most)
        if 0 < tile <= budget and remaining - count > 0:
            if budget == tile and sequence.computed < tile:
                return min(remaining % tile or tile, most)
            if remaining - count < tile:
                return min(remaining, room, most)
        return count - count % CHUNK if CHUNK < count < remaining else count

    def _watches_an_answer(self) -> bool:
        """Whether a person sees an answer being written."""
        return any(s.priority is Priority.FOREGROUND and _decodes(s) for s in self.running)

    def _until_checkpoint(self, sequence: TokenSequence) -> int:
        """Tokens to compute before a state that cannot be cut is copied."""
        if self.cache.cuts:
            return sequence.remaining
        place = next((place for place in sequence.checkpoints if place > sequence.computed), None)
        return sequence.remaining if place is None else place - sequence.computed

    def _stretch(self, decodes: int) -> float:
        """How many times the latency target a step may take: the more prompts wait per decode, the more.

        Otherwise, of sixteen chats asked at the same time, the first whose prompt is computed would hold
        the others back: each step reads all weights for a few of their tokens. A focused chat that decodes
        is never slowed down, and for one whose prompt is read the others, which nobody watches, wait longer.
        """
        if not decodes or self._watches_an_answer():
            return 1.0
        prompts = sum(s.remaining > 1 and not s.paused for s in self.running)
        watched = any(
            s.priority is Priority.FOREGROUND and s.remaining > 1 and not s.paused for s in self.running
        )
        return min(max(_WATCHED_STRETCH if watched else 1.0, 1 + prompts / decodes), _MAX_STRETCH)

    def _publish(self, sequence: TokenSequence) -> list[Move]:
        """Let other prompts find the computed part of this one, and keep its head when it is gone."""
        assert sequence.slot is not None
        tokens = sequence.tokens[: sequence.computed]
        moves = self.cache.commit(sequence.slot, tokens)
        if sequence.forgotten:
            return moves
        if sequence.computed in sequence.checkpoints:
            moves += self.cache.checkpoint(sequence.slot, tokens)
        if 0 < sequence.head_tokens <= sequence.computed:
            self.cache.pin(sequence.tokens[: sequence.head_tokens])
        return moves


def _start_at(sequence: TokenSequence, tokens: int) -> None:
    """Set what the KV cache holds of a sequence; only before its first preemption do they count as cached."""
    sequence.computed = tokens
    if not sequence.preemptions:
        sequence.cached_tokens = tokens


def _runnable(sequence: TokenSequence) -> bool:
    return sequence.leader is None and not sequence.paused


def _decodes(sequence: TokenSequence) -> bool:
    return sequence.remaining == 1 and _runnable(sequence)


def _decode_work(sequence: TokenSequence, drafts: tuple[int, ...]) -> Work:
    assert sequence.slot is not None
    start = sequence.computed
    return Work(sequence.request_id, sequence.slot, start, (sequence.tokens[start], *drafts), 1 + len(drafts))


def _prefill_work(sequence: TokenSequence, count: int) -> Work:
    assert sequence.slot is not None
    start = sequence.computed
    rows = 1 if start + count == len(sequence.tokens) else 0
    return Work(
        sequence.request_id, sequence.slot, start, tuple(sequence.tokens[start : start + count]), rows
    )
