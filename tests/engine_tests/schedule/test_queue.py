"""Fairness and the queue, on a simulated engine: a batch of cells, places and sequences that ask for some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.schedule.queue import TokenCounters, WaitingQueue, service_order
from engine.schedule.sequence import TokenSequence
from engine.types import Priority, SamplingParams

_ids = count(1)


def request(
    session: str | None = None, *, prompt: int = 10, answer: int = 10, priority: Priority = Priority.NORMAL
) -> TokenSequence:
    sampling = SamplingParams(max_tokens=answer)
    return TokenSequence(next(_ids), [0] * prompt, sampling, session, priority=priority)


class Machine:
    """Reads an admitted prompt at once, then generates a token per step for each that runs."""

    def __init__(self, *, cells: int = 10**9, places: int = 10**9) -> None:
        self.cells, self.places = cells, places
        self.counters, self.waiting = TokenCounters(), WaitingQueue()
        self.running: list[TokenSequence] = []
        self.served: Counter[str | None] = Counter()
        self.admitted: list[TokenSequence] = []

    def submit(self, sequence: TokenSequence) -> TokenSequence:
        self.counters.arrive(sequence, [*self.running, *self.waiting])
        self.waiting.add(sequence)
        return sequence

    def step(self) -> None:
        self._admit()
        for sequence in list(self.running):
            sequence.tokens.append(0)
            self._charge(sequence, prompt=0, generated=1)
            if sequence.tokens_left == 0:
                self.running.remove(sequence)

    def _admit(self) -> None:
        blocked: list[TokenSequence] = []
        for sequence in self.waiting.admissible(self.counters):
            if len(self.running) == self.places:
                return
            if size(sequence) > self.cells - sum(size(other) for other in self.running):
                blocked.append(sequence)
                continue
            self.waiting.admit(sequence)
            self.running.append(sequence)
            self.admitted.append(sequence)
            self._charge(sequence, prompt=sequence.prompt_tokens, generated=0)
            for other in blocked:
                self.waiting.overtaken(other)

    def _charge(self, sequence: TokenSequence, *, prompt: int, generated: int) -> None:
        self.counters.charge(sequence, prompt, generated)
        self.served[sequence.session_id] += prompt + 2 * generated


def size(sequence: TokenSequence) -> int:
    return sequence.prompt_tokens + (sequence.sampling.max_tokens or 0)


def cost(sequence: TokenSequence) -> int:
    return sequence.prompt_tokens + 2 * (sequence.sampling.max_tokens or 0)


def order(queue: WaitingQueue, counters: TokenCounters | None = None) -> list[TokenSequence]:
    return list(queue.admissible(counters or TokenCounters()))


# --- counters ---


def test_a_generated_token_costs_two_prompt_tokens() -> None:
    counters = TokenCounters()
    sequence = request("chat")
    counters.charge(sequence, 100, 7)
    assert counters.level(sequence) == 114


def test_requests_of_a_session_share_its_counter_and_others_have_their_own() -> None:
    counters = TokenCounters()
    counters.charge(request("chat"), 10, 0)
    assert counters.level(request("chat")) == 10
    alone = request()
    counters.charge(alone, 10, 0)
    assert counters.level(alone) == 10
    assert counters.level(request()) == 0


def test_idling_saves_up_no_credit() -> None:
    counters = TokenCounters()
    busy, also = request("busy"), request("also")
    counters.arrive(busy, [])
    counters.arrive(also, [busy])
    counters.charge(busy, 500, 0)
    counters.charge(also, 300, 0)
    back = request("was away")
    counters.arrive(back, [busy, also])
    assert counters.level(back) == 300


def test_a_debt_outlives_a_short_absence() -> None:
    counters = TokenCounters()
    greedy, modest = request("greedy"), request("modest")
    counters.arrive(modest, [])
    counters.arrive(greedy, [modest])
    counters.charge(greedy, 900, 0)
    again = request("greedy")
    counters.arrive(again, [modest])
    assert counters.level(again) == 900


def test_a_second_request_of_an_active_session_lifts_nothing() -> None:
    counters = TokenCounters()
    first, other = request("a"), request("b")
    counters.arrive(first, [])
    counters.arrive(other, [first])
    counters.charge(other, 50, 0)
    counters.charge(first, 20, 0)
    counters.arrive(request("a"), [first, other])
    assert counters.level(first) == 20


def test_when_nobody_is_active_all_start_again() -> None:
    counters = TokenCounters()
    old = request("old")
    counters.charge(old, 900, 0)
    counters.arrive(request("new"), [])
    assert counters.level(old) == 0


def test_counters_of_those_who_left_do_not_pile_up() -> None:
    counters = TokenCounters()
    always, greedy = request("always"), request("greedy")
    counters.arrive(always, [])
    counters.charge(greedy, 10**6, 0)
    for _ in range(5000):
        passing = request()
        counters.arrive(passing, [always])
        counters.charge(passing, 10, 0)
        counters.charge(always, 1, 0)
    assert len(counters) <= 1025
    assert counters.level(always) == 5000
    assert counters.level(greedy) == 10**6  # a debt is remembered while there is room


def test_service_goes_by_priority_then_counter_then_what_is_left_then_age() -> None:
    counters = TokenCounters()
    much, little = request("much"), request("little")
    first, second, short = request("new"), request("newer"), request("newest", prompt=9)
    seen = request("seen", priority=Priority.FOREGROUND)
    counters.charge(much, 90, 0)
    counters.charge(little, 10, 0)
    counters.charge(seen, 999, 0)
    given = [second, much, first, little, seen, short]
    assert service_order(given, counters) == [seen, short, first, second, little, much]


@settings(max_examples=60)
@given(
    left=st.tuples(st.integers(1, 400), st.integers(1, 60)),
    right=st.tuples(st.integers(1, 400), st.integers(1, 60)),
    places=st.integers(1, 8),
)
def test_two_sessions_that_always_ask_get_the_same_within_the_papers_bound(
    left: tuple[int, int], right: tuple[int, int], places: int
) -> None:
    """Theorem 4.4: |W_f - W_g| <= 2 * max(w_p * longest prompt, w_q * tokens in a batch)."""
    machine = Machine(places=places)
    sizes = {"left": left, "right": right}
    bound = 2 * max(left[0], right[0], 2 * places * max(sum(left), sum(right)))
    for _ in range(400):
        waiting = Counter(sequence.session_id for sequence in machine.waiting)
        for name, (prompt, answer) in sizes.items():
            while waiting[name] < places + 1:
                machine.submit(request(name, prompt=prompt, answer=answer))
                waiting[name] += 1
        machine.step()
        assert abs(machine.served["left"] - machine.served["right"]) <= bound
    assert min(machine.served["left"], machine.served["right"]) > 0


def test_a_session_with_many_requests_does_not_crowd_out_one_with_few() -> None:
    machine = Machine(places=2)
    for _ in range(40):
        machine.submit(request("crowd", prompt=20, answer=10))
    lone = machine.submit(request("lone", prompt=20, answer=10))
    while lone in machine.waiting:
        machine.step()
    assert len(machine.admitted) <= 3


# --- the queue ---


def test_the_session_that_had_least_comes_first_then_the_oldest() -> None:
    queue, counters = WaitingQueue(), TokenCounters()
    fed, second, third = request("fed"), request("b"), request("c")
    for sequence in (fed, third, second):
        queue.add(sequence)
    counters.charge(fed, 100, 0)
    assert order(queue, counters) == [second, third, fed]
    assert list(queue) == [second, third, fed]


def test_a_change_of_priority_takes_effect_immediately() -> None:
    queue = WaitingQueue()
    first, second = request("a"), request("b")
    queue.add(first)
    queue.add(second)
    second.priority = Priority.FOREGROUND
    assert order(queue) == [second, first]
    second.priority = Priority.BACKGROUND
    assert order(queue) == [first, second]


def test_a_preempted_sequence_goes_before_the_new_ones_of_its_priority() -> None:
    queue, counters = WaitingQueue(), TokenCounters()
    new, seen, back = request("a"), request("b", priority=Priority.FOREGROUND), request("c")
    older = request("d")
    for sequence in (new, seen):
        queue.add(sequence)
    queue.put_back(older)
    queue.put_back(back)
    counters.charge(back, 1000, 0)
    assert order(queue, counters) == [seen, back]  # nobody passes it while it does not fit
    assert list(queue) == [seen, back, older, new]
    offered = []
    for sequence in queue.admissible(counters):
        offered.append(sequence)
        queue.admit(sequence)
    assert offered == [seen, back, older, new]


def test_membership() -> None:
    queue = WaitingQueue()
    one, other = request(), request()
    queue.add(one)
    assert one in queue
    assert other not in queue
    assert "one" not in queue
    assert len(queue) == 1
    queue.remove(one)
    assert len(queue) == 0
    with pytest.raises(KeyError):
        queue.remove(one)


def test_small_requests_pass_one_that_does_not_fit_but_only_so_often() -> None:
    machine = Machine(cells=100)
    machine.submit(request("long", prompt=10, answer=80))
    machine.step()
    large = machine.submit(request("large", prompt=50, answer=40))
    for _ in range(20):
        machine.submit(request(prompt=1, answer=2))
        machine.step()
    assert len(machine.admitted) == 1 + 8
    assert large in machine.waiting
    while large in machine.waiting:
        machine.step()
    assert machine.admitted[9] is large


def test_those_ahead_of_a_blocked_one_are_not_held_up_by_it() -> None:
    queue = WaitingQueue()
    large, behind = request("a"), request("b")
    queue.add(large)
    queue.add(behind)
    for _ in range(8):
        assert order(queue) == [large, behind]
        queue.overtaken(large)
    assert order(queue) == [large]
    seen = request("c", priority=Priority.FOREGROUND)
    queue.add(seen)
    assert order(queue) == [seen, large]


def test_those_behind_follow_in_the_same_step_when_the_blocked_one_fits() -> None:
    queue = WaitingQueue()
    large, behind = request("a"), request("b")
    queue.add(large)
    queue.add(behind)
    for _ in range(8):
        queue.overtaken(large)
    seen = []
    for sequence in queue.admissible(TokenCounters()):
        seen.append(sequence)
        queue.admit(sequence)
    assert seen == [large, behind]


def test_a_paused_sequence_is_not_admissible_and_blocks_none() -> None:
    queue = WaitingQueue()
    paused, behind = request("a"), request("b")
    queue.put_back(paused)
    queue.add(behind)
    for _ in range(8):
        queue.overtaken(paused)
    paused.lagging = True
    assert order(queue) == [behind]
    assert list(queue) == [paused, behind]
    paused.lagging = False
    assert order(queue) == [paused]


def test_what_is_cancelled_during_the_round_is_not_offered() -> None:
    queue = WaitingQueue()
    first, second, third = request(), request(), request()
    for sequence in (first, second, third):
        queue.add(sequence)
    offered = queue.admissible(TokenCounters())
    assert next(offered) is first
    queue.remove(second)
    assert list(offered) == [third]


def test_background_work_is_served_in_the_end_under_a_stream_of_better_requests() -> None:
    machine = Machine(places=1)
    background = machine.submit(request("index", prompt=3, answer=3, priority=Priority.BACKGROUND))
    for _ in range(400):
        while len(machine.waiting) < 4:
            machine.submit(request(prompt=1, answer=1, priority=Priority.FOREGROUND))
        machine.step()
    rise = 32 * 9 / 3  # the others cost a third
    assert 2 * rise <= machine.admitted.index(background) <= 3 * rise + 4


def test_a_session_that_floods_the_queue_does_not_rise_by_ageing() -> None:
    machine = Machine(places=1)
    for _ in range(150):
        machine.submit(request("flood", prompt=10, answer=1))
    while len(machine.waiting) > 20:
        if sum(sequence.session_id == "modest" for sequence in machine.waiting) < 2:
            machine.submit(request("modest", prompt=10, answer=1))
        machine.step()
    served = Counter(sequence.session_id for sequence in machine.admitted)
    assert abs(served["flood"] - served["modest"]) <= 3


def test_giving_up_ages_nobody() -> None:
    queue = WaitingQueue()
    background = request("index", priority=Priority.BACKGROUND)
    queue.add(background)
    for _ in range(5000):
        other = request()
        queue.add(other)
        queue.remove(other)
    normal = request()
    queue.add(normal)
    assert order(queue) == [normal, background]


def small_requests(seed: int) -> Iterator[TokenSequence]:
    random = Random(seed)
    while True:
        yield request(
            random.choice([None, "x", "y"]),
            prompt=random.randint(1, 20),
            answer=random.randint(1, 12),
            priority=random.choice(list(Priority)),
        )


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    large=st.integers(33, 100),
    priority=st.sampled_from(Priority),
    debt=st.integers(0, 10_000),
    arrivals=st.integers(1, 4),
    places=st.integers(2, 12),
)
def test_nobody_starves_under_a_stream_of_small_requests(
    seed: int, large: int, priority: Priority, debt: int, arrivals: int, places: int
) -> None:
    machine = Machine(cells=100, places=places)
    small = small_requests(seed)
    for _ in range(3):
        machine.submit(next(small))
    victim = request("victim", prompt=large - 1, answer=1, priority=priority)
    machine.submit(victim)
    machine.counters.charge(victim, debt, 0)
    already = sum(cost(other) for other in machine.admitted)
    while victim in machine.waiting:
        for _ in range(arrivals):
            if len(machine.waiting) < 64:
                machine.submit(next(small))
        machine.step()
        # Three classes to climb; those ahead of it in its class, those that may overtake it, and one round.
        admitted = sum(cost(other) for other in machine.admitted) - already
        assert admitted <= 3 * 32 * cost(victim) + (64 + 8 + places) * 44
