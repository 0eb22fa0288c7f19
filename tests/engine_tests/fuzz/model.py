"""A fake model for fuzzing: its next token depends on every token before it, and it fails on demand.

A cell that holds the wrong token changes the answer, so comparing texts also checks the KV cache.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from engine_tests.fakes import EOG, FakeBackend

from engine import EngineConfig
from engine.step import Move, Save, State, StepPlan, StepResult, StepStatus, Work
from engine.types import FinishReason, SamplingParams

__all__ = ["Answer", "BackendBug", "FuzzBackend", "Licences", "expect"]

_LETTERS = 8  # the answers' alphabet: few letters, so that drafts are often right


def next_token(context: Sequence[int]) -> int:
    """The token that follows: mostly the next letter, sometimes a jump or the end of the turn."""
    number = zlib.crc32(bytes(context))
    if number % 37 == 0:
        return EOG
    if number % 9 == 1:
        return ord("a") + number // 37 % _LETTERS
    return context[-1] + 1 if ord("a") <= context[-1] < ord("a") + _LETTERS - 1 else ord("a")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request that nothing disturbs gets; `raw` is the text with the stop string that ends it."""

    tokens: tuple[int, ...]
    text: str
    raw: str
    reason: FinishReason


def expect(prompt: Sequence[int], sampling: SamplingParams, cells: int) -> Answer:
    """The answer to a prompt, token by token, without an engine."""
    context, tokens, raw = [*prompt], [], ""
    for length in count(1):
        token = next_token(context)
        context.append(token)
        tokens.append(token)
        if token == EOG and not sampling.ignore_eos:
            return Answer((*tokens,), raw, raw, FinishReason.STOP)
        raw += "" if token == EOG else chr(token)
        if cuts := [at for stop in sampling.stop if (at := raw.find(stop)) >= 0]:
            return Answer((*tokens,), raw[: min(cuts)], raw, FinishReason.STOP)
        if length == sampling.max_tokens:
            return Answer((*tokens,), raw, raw, FinishReason.LENGTH)
        if len(context) > cells:
            return Answer((*tokens,), raw, raw, FinishReason.CONTEXT)
    raise AssertionError


class BackendBug(Exception):
    """What a fake backend raises to kill the engine thread."""


@dataclass
class Licences:
    """Which requests the faults so far entitle to fail, or to end with the context; by their seeds."""

    fail: set[int] = field(default_factory=set)
    context: set[int] = field(default_factory=set)
    partials: int = 0  # in a row

    def grant(self, injected: StepStatus, plan: StepPlan, seeds: dict[int, int]) -> None:
        """Record the outcome of a forward pass that ran."""
        these = {seeds[item.request_id] for item in plan.work}
        if injected is StepStatus.OK:
            self.partials = 0
        elif injected is StepStatus.PARTIAL:
            self.partials += 1
            if self.partials == 3:
                self.partials = 0
                self.fail |= these
        elif len(plan.work) == 1:
            (self.fail if injected is StepStatus.INVALID else self.context).update(these)


class FuzzBackend(FakeBackend):
    """Checks every plan as llama.cpp would, and has more ways to fail.

    Attributes:
        faults: outcomes of the next forward passes.
        torn: on PARTIAL, how many tokens of the first item that broke off were computed.
        bad_saves: number of states that cannot be read.
        bomb: name of a method whose next call raises.
        licences: whom the faults so far may have hurt.
    """

    def __init__(
        self, config: EngineConfig, *, cells: int, context: int, cuts: bool, offloaded: bool
    ) -> None:
        super().__init__(
            cells=cells,
            context=context,
            partial_removal=cuts,
            split=config.split_cache,
            token_bytes=4,
            offloaded=offloaded,
        )
        self.config = config
        self.faults: deque[StepStatus] = deque()
        self.torn = self.bad_saves = 0
        self.bomb = ""
        self.seeds: dict[int, int] = {}
        self.licences = Licences()

    def open_sampler(
        self,
        request_id: int,
        params: SamplingParams,
        prompt: Sequence[int],
        constraint: object = None,
    ) -> None:
        self._explode("open_sampler")
        assert request_id not in self.samplers
        super().open_sampler(request_id, params, prompt, constraint)
        assert params.seed is not None
        self.seeds[request_id] = params.seed

    def close_sampler(self, request_id: int) -> None:
        self._explode("close_sampler")
        super().close_sampler(request_id)

    def resident(self, slot: int) -> int:
        self._explode("resident")
        return super().resident(slot)

    def execute(self, plan: StepPlan, meanwhile: Callable[[], None] | None = None) -> StepResult:
        self._explode("execute" if plan.work else "moves")
        self._check(plan)
        if plan.work and not self.statuses:
            self.statuses = [self.faults.popleft() if self.faults else StepStatus.OK]
        injected = self.statuses[0] if self.statuses else StepStatus.OK
        result = super().execute(plan, meanwhile)
        if not plan.work or result.status is StepStatus.LOST:
            return result
        assert result.status is injected, "the books said that there were cells"
        self.licences.grant(injected, plan, self.seeds)
        torn = next((item for item in plan.work if len(self.tokens(item.slot)) == item.start), None)
        if injected is StepStatus.PARTIAL and torn is not None:
            self._tear(torn)
        for held in self.kv.values():
            assert len(held) <= self.info.context_tokens
        return result

    def _check(self, plan: StepPlan) -> None:
        """What would make llama.cpp abort the process."""
        slots = [item.slot for item in plan.work]
        assert len({*slots}) == len(slots)
        assert all(0 <= each.slot < self.config.sequences for each in (*plan.work, *plan.moves))
        assert plan.tokens <= self.config.batch_tokens
        assert sum(item.rows for item in plan.work) <= self.config.sequences + self.config.draft_rows
        assert all(0 <= item.rows <= len(item.tokens) > 0 for item in plan.work)
        assert {item.request_id for item in plan.work} <= {*self.samplers}

    def _tear(self, item: Work) -> None:
        held, tokens = self.kv.setdefault(item.slot, []), item.tokens[: self.torn]
        held.extend(self._new_cells(tokens))
        self._write(item.slot, item.start, tokens)

    def _move(self, moves: Sequence[Move], saved: dict[str, State]) -> bool:
        restored = super()._move(moves, saved)
        for move in moves:
            if isinstance(move, Save) and self.bad_saves and saved.pop(move.key, None) is not None:
                self.bad_saves -= 1
        return restored

    def _sample(self, item: Work) -> tuple[int, ...]:
        """The tokens that follow, while the drafts are accepted."""
        held = self.tokens(item.slot)
        sampled: list[int] = []
        for row, draft in enumerate((*item.drafts, None), 1):
            sampled.append(next_token(held[: len(held) - item.rows + row]))
            if sampled[-1] != draft or self.is_eog(sampled[-1]):
                break
        return (*sampled,)

    def _explode(self, method: str) -> None:
        if self.bomb == method:
            self.bomb = ""
            raise BackendBug(f"a bug in {method}")
