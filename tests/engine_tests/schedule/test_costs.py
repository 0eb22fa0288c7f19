"""Step costs on made-up machines whose true costs are known: nothing here reads a clock."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.schedule.costs import StepCosts

TARGET = 0.1


@dataclass
class Machine:
    """A step takes fixed_s + rows * (row_s + cells * cell_s) + drafts * draft_s, times `slow`."""

    fixed_s: float = 0.008
    row_s: float = 0.002
    cell_s: float = 0.0
    draft_s: float = 0.002
    cells: int = 0
    slow: float = 1.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        self._random = Random(1)

    def seconds(self, *, decodes: int, prefill: int, drafts: int = 0) -> float:
        rows = decodes + prefill
        exact = self.fixed_s + rows * (self.row_s + self.cells * self.cell_s) + drafts * self.draft_s
        self.cells += rows
        return exact * self.slow * (1 + self.jitter * self._random.uniform(-1, 1))

    def step(self, costs: StepCosts, *, decodes: int, prefill: int, drafts: int = 0) -> float:
        seconds = self.seconds(decodes=decodes, prefill=prefill, drafts=drafts)
        costs.record_step(decodes=decodes, prefill=prefill, drafts=drafts, seconds=seconds)
        return seconds


def read_prompt(costs: StepCosts, machine: Machine, *, decodes: int, steps: int) -> list[float]:
    """Steps that share themselves between decodes and as much of a prompt as the budget allows."""
    return [
        machine.step(costs, decodes=decodes, prefill=costs.prefill_budget(decodes, 512)) for _ in range(steps)
    ]


def warmed(machine: Machine, *, target_s: float = TARGET) -> StepCosts:
    """Costs after one request ran alone."""
    costs = StepCosts(target_s=target_s)
    for _ in range(3):
        machine.step(costs, decodes=0, prefill=256)
    for _ in range(10):
        machine.step(costs, decodes=1, prefill=0)
    return costs


def test_before_anything_is_measured_the_first_budget_holds() -> None:
    assert StepCosts(target_s=TARGET).prefill_budget(1, 512) == 64
    assert StepCosts(target_s=TARGET, first_budget=128).prefill_budget(4, 512) == 128


@pytest.mark.parametrize("most", [1, 15, 16, 500, 512])
def test_nobody_decoding_means_as_large_as_possible(most: int) -> None:
    assert StepCosts(target_s=TARGET).prefill_budget(0, most) == most


@given(st.integers(1, 64), st.integers(0, 600), st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_a_budget_is_a_multiple_of_8_within_its_bounds(
    decodes: int, most: int, decode_s: float, token_s: float
) -> None:
    costs = StepCosts(target_s=TARGET)
    costs.record_step(decodes=decodes, prefill=0, drafts=0, seconds=decode_s)
    costs.record_step(decodes=0, prefill=100, drafts=0, seconds=100 * token_s)
    budget = costs.prefill_budget(decodes, most)
    assert min(8, most) <= budget <= most
    assert budget % 8 == 0 or budget == most


@pytest.mark.parametrize("decodes", [1, 4, 8])
@pytest.mark.parametrize(
    "machine",
    [
        Machine(),
        Machine(jitter=0.15),
        Machine(fixed_s=0.002, row_s=0.0002),  # a fast CPU
        Machine(fixed_s=0.02, row_s=0.0009, cell_s=1e-7, jitter=0.1),  # attention grows as the cells fill
        Machine(row_s=0.0005, cell_s=1.5e-7),
    ],
)
def test_steps_settle_near_the_target(machine: Machine, decodes: int) -> None:
    costs = warmed(machine)
    steps = read_prompt(costs, machine, decodes=decodes, steps=40)
    chunk_s = 8 * (machine.row_s + machine.cells * machine.cell_s)  # what rounding down may leave unused
    assert costs.prefill_budget(decodes, 10_000) > 8  # else the target cannot be met at all
    assert all(0.75 * TARGET - chunk_s < seconds < 1.25 * TARGET for seconds in steps[12:])
    assert sum(seconds > 1.5 * TARGET for seconds in steps) <= 3


def test_a_gpu_gets_all_the_tokens_of_a_batch_where_they_fit() -> None:
    machine = Machine(fixed_s=0.006, row_s=0.00003)
    costs = warmed(machine, target_s=0.05)
    assert costs.prefill_budget(8, 504) == 504


def test_a_target_out_of_reach_leaves_the_smallest_chunk() -> None:
    machine = Machine(fixed_s=0.2)
    costs = warmed(machine)
    assert {costs.prefill_budget(1, 512) for _ in read_prompt(costs, machine, decodes=1, steps=20)} == {8}


@pytest.mark.parametrize("slow", [0.25, 0.5, 3.0])
def test_a_change_of_speed_is_followed_without_a_pure_decode_step(slow: float) -> None:
    machine = Machine(row_s=0.001)
    costs = warmed(machine)
    read_prompt(costs, machine, decodes=4, steps=30)
    machine.slow = slow
    steps = read_prompt(costs, machine, decodes=4, steps=40)
    assert all(0.75 * TARGET < seconds < 1.25 * TARGET for seconds in steps[15:])


def test_one_hiccup_is_not_believed() -> None:
    machine = Machine(row_s=0.001)
    costs = warmed(machine)
    read_prompt(costs, machine, decodes=4, steps=30)
    before = costs.prefill_budget(4, 512)
    costs.record_step(decodes=4, prefill=before, drafts=0, seconds=10 * TARGET)
    assert costs.prefill_budget(4, 512) > 0.6 * before
    read_prompt(costs, machine, decodes=4, steps=8)
    assert costs.prefill_budget(4, 512) > 0.85 * before


def test_a_slow_first_step_is_forgotten_after_the_second() -> None:
    machine = Machine()
    costs = StepCosts(target_s=TARGET)
    costs.record_step(decodes=0, prefill=64, drafts=0, seconds=5.0)  # loading kernels
    machine.step(costs, decodes=0, prefill=64)
    assert costs.token_s < 0.003
    costs.record_step(decodes=1, prefill=0, drafts=0, seconds=5.0)
    machine.step(costs, decodes=1, prefill=0)
    costs.record_step(decodes=1, prefill=0, drafts=0, seconds=5.0)
    assert costs.decode_s(1) == pytest.approx(0.01)


def test_decode_costs_between_and_beyond_what_was_measured() -> None:
    costs = StepCosts(target_s=TARGET)
    costs.record_step(decodes=0, prefill=100, drafts=0, seconds=0.1)
    costs.record_step(decodes=2, prefill=0, drafts=0, seconds=0.010)
    costs.record_step(decodes=6, prefill=0, drafts=0, seconds=0.030)
    assert costs.decode_s(4) == pytest.approx(0.020)
    assert costs.decode_s(8) == pytest.approx(0.030 + 2 * costs.token_s)
    assert costs.decode_s(1) == pytest.approx(0.010 - costs.token_s)


def test_the_price_of_a_draft_is_learned_apart_from_that_of_a_prompt_token() -> None:
    machine = Machine(fixed_s=0.01, row_s=0.001, draft_s=0.004)  # a large vocabulary: logits are dear
    costs = warmed(machine)
    assert costs.draft_s == costs.token_s
    for step in range(60):
        machine.step(costs, decodes=1, prefill=0, drafts=4 * (step % 2))
    assert costs.draft_s == pytest.approx(0.004, rel=0.1)
    assert costs.token_s == pytest.approx(0.001, rel=0.1)


def test_a_few_tokens_at_the_end_of_a_prompt_do_not_pass_for_a_dear_token() -> None:
    machine = Machine()
    costs = warmed(machine)
    before = costs.token_s
    for _ in range(30):
        machine.step(costs, decodes=0, prefill=2)  # most of it is the fixed cost
    assert costs.token_s == pytest.approx(before, rel=0.3)


def test_swapping_pays_for_many_tokens_on_a_slow_model_only() -> None:
    costs = StepCosts(target_s=TARGET)
    costs.record_step(decodes=0, prefill=100, drafts=0, seconds=0.2)  # 2 ms per token
    costs.record_swap(100_000_000, 0.05)
    assert costs.swap_s(200_000_000) == pytest.approx(0.1)
    assert costs.cheaper_to_swap(20_000_000, 1000)
    assert not costs.cheaper_to_swap(20_000_000, 9)  # 20 ms there and back, 18 ms again


def test_nothing_is_learned_from_a_step_that_did_nothing() -> None:
    costs = StepCosts(target_s=TARGET)
    costs.record_step(decodes=0, prefill=0, drafts=0, seconds=1.0)
    costs.record_step(decodes=1, prefill=0, drafts=0, seconds=0.0)
    costs.record_swap(0, 1.0)
    assert costs.decode_s(1) == TARGET / 2
    assert costs.prefill_budget(1, 512) == 64


def tiled(*, row_s: float) -> StepCosts:
    """Costs that know both kinds of steps: 2 ms a token in tiles of 64, `row_s` below."""
    costs = StepCosts(target_s=TARGET, tile=64)
    for prefill, token_s in ((128, 0.002), (32, row_s)) * 5:
        costs.record_step(decodes=0, prefill=prefill, drafts=0, seconds=prefill * token_s)
    for _ in range(3):
        costs.record_step(decodes=1, prefill=0, drafts=0, seconds=0.010)
    return costs


def test_rows_and_tiles_are_learned_apart() -> None:
    costs = tiled(row_s=0.008)
    assert costs.token_s == pytest.approx(0.002)
    assert costs.row_s == pytest.approx(0.008)
    assert costs.prefill_budget(1, 512) == 8  # 45 tokens at the price of a tile, which are no tile
    assert costs.prefill_budget(1, 512, 2.0) == 96


def test_fewer_tokens_than_a_tile_cost_as_rows_do_however_many_would_fit() -> None:
    costs = tiled(row_s=0.008)
    assert costs.prefill_budget(1, 512, 2.0) == 96
    assert costs.prefill_budget(1, 512, 2.0, ready=40) == 24
    assert costs.prefill_budget(1, 512, 2.0, ready=200) == 96


def test_a_tile_pays_where_it_takes_less_time_than_the_rows() -> None:
    costs = tiled(row_s=0.004)
    assert [tokens for tokens in (24, 32, 33, 60) if costs.tile_pays(tokens)] == [33, 60]


def test_until_a_tile_was_measured_its_tokens_cost_as_much_as_rows() -> None:
    costs = StepCosts(target_s=TARGET, tile=64)
    costs.record_step(decodes=0, prefill=32, drafts=0, seconds=0.32)
    assert costs.token_s == costs.row_s == pytest.approx(0.010)
