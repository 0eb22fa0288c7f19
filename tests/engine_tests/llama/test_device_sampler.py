"""Chains that run in the forward pass choose what they would choose on the CPU, whoever uses their slot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_tests.real import THREADS

from engine import EngineConfig, SamplingParams
from engine.llama import sampler as sampler_module
from engine.llama.backend import LlamaBackend
from engine.llama.device_sampler import DeviceSampler
from engine.llama.lib import lib
from engine.llama.topk import TokenDataArray
from engine.step import StepPlan, StepStatus, Trim, Work

TEXT = "The lighthouse keeper looked at the sea, and the sea looked"
ATTACH = lib.llama_set_sampler


class Player:
    """A backend driven by hand, one sequence in each slot."""

    def __init__(self, backend: LlamaBackend) -> None:
        self.backend = backend
        self.prompt = backend.tokenize(TEXT)
        self.held: dict[int, list[int]] = {}

    def begin(self, *placed: tuple[int, int, dict[str, Any]]) -> None:
        """Open requests: their number, which is the seed too, their slot and how they are sampled."""
        for request_id, slot, params in placed:
            self.backend.open_sampler(request_id, SamplingParams(seed=request_id, **params), self.prompt)
            self.held[slot] = []

    def step(self, *placed: tuple[int, int], drafts: tuple[int, ...] = ()) -> dict[int, tuple[int, ...]]:
        """Sample each of these requests in its slot."""
        work = []
        for request_id, slot in placed:
            held = self.held[slot]
            new = (held[-1:] or self.prompt) + [*drafts]
            start = len(self.prompt) + len(held) - 1 if held else 0
            work.append(Work(request_id, slot, start, tuple(new), 1 + len(drafts)))
        result = self.backend.execute(StepPlan(tuple(work)))
        assert result.status is StepStatus.OK
        for request_id, slot in placed:
            self.held[slot] += result.sampled[request_id]
        return result.sampled

    def end(self, *requests: int) -> None:
        for request_id in requests:
            self.backend.close_sampler(request_id)
        self.backend.execute(StepPlan(moves=tuple(Trim(slot, 0) for slot in self.held)))
        self.held.clear()


def config(model: Path) -> EngineConfig:
    return EngineConfig(
        model_path=model,
        max_sessions=4,
        cached_sessions=0,
        context_tokens=1024,
        threads=THREADS,
        gpu_layers=0,
    )


@pytest.fixture(scope="module")
def backends(starter_model: Path) -> Iterator[dict[str, LlamaBackend]]:
    made = {
        place: LlamaBackend(replace(config(starter_model), device_sampling=place)) for place in ("on", "off")
    }
    yield {**made}
    for backend in made.values():
        backend.close()


@pytest.fixture
def players(backends: dict[str, LlamaBackend]) -> list[Player]:
    return [Player(backends["on"]), Player(backends["off"])]


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The slots to which a chain was attached."""
    slots: list[int] = []

    def attach(context: Any, slot: int, chain: Any) -> bool:
        if chain is not None:
            slots.append(slot)
        return bool(ATTACH(context, slot, chain))

    monkeypatch.setattr(lib, "llama_set_sampler", attach)
    return slots


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 0.0},
        {"top_k": 12, "top_p": 0.4},
        {"temperature": 1.5, "min_p": 0.1, "top_p": 0.9},
        {"top_k": 1_000_000},
    ],
    ids=["default", "greedy", "narrow", "hot", "more than there are"],
)
def test_the_forward_pass_chooses_the_tokens_that_the_cpu_would(
    players: list[Player], attached: list[int], params: dict[str, Any]
) -> None:
    said = []
    for player in players:
        player.begin((7, 0, params), (8, 2, params))
        said.append([player.step((7, 0), (8, 2)) for _ in range(12)])
        player.end(7, 8)
    assert said[0] == said[1]
    assert {*attached} <= {0, 2}


def test_a_chain_that_sorts_nothing_chooses_among_the_same_tokens(players: list[Player]) -> None:
    """But a device may go through them in another order."""
    params: dict[str, Any] = {"temperature": 2.0, "top_k": 3, "top_p": 1.0, "min_p": 0.0}
    device, cpu = players
    cpu.begin((0, 0, {"temperature": 0.0, "logprobs": 3}))
    work = Work(0, 0, 0, tuple(cpu.prompt), 1)
    likeliest = {token for token, _ in cpu.backend.execute(StepPlan((work,))).logprobs[0][0].top}
    cpu.end(0)
    chosen = set()
    for seed in range(40):
        device.begin((seed, 0, params))
        chosen |= {*device.step((seed, 0))[seed]}
        device.end(seed)
    assert chosen == likeliest


def test_logits_stay_on_the_device(players: list[Player], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody wants them; the first player samples on the device."""

    def fail(*_: object) -> None:
        raise AssertionError("sampled on the CPU")

    monkeypatch.setattr(TokenDataArray, "draw", fail)
    monkeypatch.setattr(sampler_module.RowSampler, "_sample_few", fail)
    player = players[0]
    player.begin((7, 0, {}), (8, 1, {"temperature": 0.0}))
    assert player.step((7, 0), (8, 1))
    player.end(7, 8)
    player.begin((9, 0, {"repetition_penalty": 1.3}))
    with pytest.raises(AssertionError, match="on the CPU"):
        player.step((9, 0))
    player.held[0] = []
    player.end(9)


def test_a_chain_stays_with_its_slot_for_the_next_request(players: list[Player], attached: list[int]) -> None:
    player = players[0]
    params = {"top_k": 17}
    for request_id in (7, 8, 9):
        player.begin((request_id, 1, params))
        player.step((request_id, 1))
        player.end(request_id)
    assert attached == [1]


def test_requests_that_move_and_change_draw_the_same_numbers(players: list[Player]) -> None:
    """One request goes through three slots, onto the CPU in between, while another takes its place."""
    said = []
    for player in players:
        player.begin((7, 0, {}), (8, 1, {}))
        tokens = [player.step((7, 0), (8, 1)) for _ in range(4)]
        for here, there in ((0, 2), (2, 3)):
            player.held[there] = []
            tokens.append(player.step((7, there)))
            player.backend.execute(StepPlan(moves=(Trim(here, 0),)))
            player.held[here] = []
            tokens += [player.step((8, here)), player.step((7, there), (8, here))]
        hot = SamplingParams(seed=7, temperature=1.2, ignore_eos=True)
        player.backend.change_sampler(7, hot, player.prompt)
        tokens += [player.step((7, 3), (8, 2)) for _ in range(3)]
        said.append(tokens)
        player.end(7, 8)
    assert said[0] == said[1]


def test_rejected_drafts_cost_no_random_numbers(players: list[Player]) -> None:
    said = []
    for player, draft in zip(players, (True, False), strict=True):
        player.begin((7, 0, {"temperature": 1.3}))
        tokens: list[int] = []
        while len(tokens) < 16:
            wrong = (5, 6) if draft and tokens else ()
            tokens += player.step((7, 0), drafts=wrong)[7]
        said.append(tokens[:16])
        player.end(7)
    assert said[0] == said[1]


def test_what_the_device_refuses_is_sampled_on_the_cpu(
    players: list[Player], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def refuse(context: Any, slot: int, chain: Any) -> bool:
        tried.append(slot)
        return False

    said = []
    for player in players:
        monkeypatch.setattr(lib, "llama_set_sampler", refuse)
        player.begin((7, 3, {"top_k": 23}))
        said.append([player.step((7, 3)) for _ in range(5)])
        player.end(7)
    assert said[0] == said[1]
    assert len(tried) <= 2, "it is asked once"


def test_auto_measures_and_takes_the_faster(starter_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU it does not even measure; told that there is a GPU, it believes its clock."""
    auto = replace(config(starter_model), device_sampling="auto")
    used: list[DeviceSampler | None] = []
    use = sampler_module.RowSampler.use_device

    def watched(sampler: sampler_module.RowSampler, device: DeviceSampler | None) -> None:
        used.append(device)
        use(sampler, device)

    monkeypatch.setattr(sampler_module.RowSampler, "use_device", watched)
    LlamaBackend(auto).close()
    assert used == []
    monkeypatch.setattr("engine.llama.backend.offloaded_layers", lambda: 1)
    real = LlamaBackend._time_steps
    for times, taken in (((0.2, 0.1), True), ((0.1, 0.2), False)):
        clock = iter(times)
        monkeypatch.setattr(
            LlamaBackend, "_time_steps", lambda self, clock=clock: (real(self), next(clock))[1]
        )
        used.clear()
        backend = LlamaBackend(auto)
        assert (used[-1] is not None) is taken
        player = Player(backend)
        player.begin((7, 0, {}))
        assert player.step((7, 0))
        backend.close()
